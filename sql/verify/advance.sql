-- Verify currant:advance on pg

begin;

select 'currant._try_keys(jsonb)'::regprocedure;

select 'currant._lock_workflows(currant._activation[])'::regprocedure;

select 'currant._decline(uuid, currant._activation, boolean, timestamptz)'::regprocedure;

select 'currant._is_end_premature(uuid, jsonb, bigint[])'::regprocedure;

select 'currant._accept_leased(uuid, currant._activation[], uuid[])'::regprocedure;

select 'currant._answers(uuid, currant._activation[], currant._activation[], uuid[], timestamptz)'::regprocedure;

select 'currant._advance(uuid, jsonb)'::regprocedure;

select 'currant.advance(uuid, uuid, bigint, integer, bigint[], jsonb, jsonb)'::regprocedure;

rollback;

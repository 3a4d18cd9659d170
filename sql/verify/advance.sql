-- Verify currant:advance on pg

begin;

select 'currant._start_tasks(uuid, uuid, text, jsonb, timestamptz)'::regprocedure;

select 'currant._carry_out(uuid, jsonb, timestamptz)'::regprocedure;

select 'currant._advance(uuid, uuid, bigint, integer, bigint[], jsonb, jsonb)'::regprocedure;

select 'currant.advance(uuid, uuid, bigint, integer, bigint[], jsonb, jsonb)'::regprocedure;

rollback;

-- Verify currant:step_many on pg

begin;

select 'currant._complete_steps(uuid, uuid[], bigint[], jsonb[], timestamptz)'::regprocedure;

select 'currant._accept_ahead(currant._activation[], uuid[], currant._ended, timestamptz)'::regprocedure;

select 'currant.step_many(uuid, jsonb, jsonb)'::regprocedure;

rollback;

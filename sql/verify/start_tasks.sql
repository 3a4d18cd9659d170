-- Verify currant:start_tasks on pg

begin;

select 'currant._start_tasks(uuid, uuid, text, jsonb, timestamptz)'::regprocedure;

rollback;

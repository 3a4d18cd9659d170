-- Verify currant:cancel on pg

begin;

select 'currant._cancel_task(uuid, text, timestamptz)'::regprocedure;

select 'currant._end_workflow(uuid, text, jsonb, jsonb, bigint, uuid, timestamptz)'::regprocedure;

select 'currant.cancel(uuid, text)'::regprocedure;

rollback;

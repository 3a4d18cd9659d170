-- Verify currant:end_workflow on pg

begin;

select 'currant._note_cancel(uuid, text, timestamptz)'::regprocedure;

select 'currant._cancel_task(uuid, text, timestamptz)'::regprocedure;

select 'currant._end_alone(uuid, text, jsonb, jsonb, bigint, uuid, timestamptz)'::regprocedure;

select 'currant._cancel_children(uuid[], integer, text, timestamptz)'::regprocedure;

select 'currant._end_workflow(uuid, text, jsonb, jsonb, bigint, uuid, timestamptz)'::regprocedure;

rollback;

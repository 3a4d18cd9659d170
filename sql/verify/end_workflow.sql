-- Verify currant:end_workflow on pg

begin;

select 'currant._note_cancel(uuid, text, timestamptz)'::regprocedure;

select 'currant._cancel_task(uuid, text, timestamptz)'::regprocedure;

select 'currant._end_alone(currant._end[], uuid, timestamptz)'::regprocedure;

select 'currant._cancel_children(uuid[], integer, text, timestamptz)'::regprocedure;

select 'currant._end_workflows(currant._end[], uuid, timestamptz)'::regprocedure;

select 'currant._end_workflow(uuid, text, jsonb, timestamptz)'::regprocedure;

rollback;

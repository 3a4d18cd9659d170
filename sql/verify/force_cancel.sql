-- Verify currant:force_cancel on pg

begin;

select 'currant._force_later(uuid, text, integer, timestamptz)'::regprocedure;

select 'currant._force_task(uuid, text, integer, timestamptz)'::regprocedure;

select 'currant._force_workflow(uuid, text, integer, timestamptz)'::regprocedure;

select 'currant._force_cancel(uuid, text, integer, timestamptz)'::regprocedure;

rollback;

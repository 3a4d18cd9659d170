-- Verify currant:tell_workflow on pg

begin;

select 'currant._tell_workflow(uuid, integer, uuid, text, jsonb, timestamptz)'::regprocedure;

select 'currant._tell_end(uuid, integer, uuid, text, timestamptz)'::regprocedure;

rollback;

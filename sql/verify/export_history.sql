-- Verify currant:export_history on pg

begin;

select 'currant._iso(timestamptz)'::regprocedure;

select 'currant._exported_entries(uuid, integer)'::regprocedure;

select 'currant.export_history(uuid)'::regprocedure;

rollback;

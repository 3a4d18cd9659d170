-- Verify currant:start_children on pg

begin;

select 'currant._to_start(jsonb, boolean, boolean)'::regprocedure;

select 'currant._start_children(uuid, uuid, text, jsonb[], timestamptz)'::regprocedure;

rollback;

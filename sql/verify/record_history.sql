-- Verify currant:record_history on pg

begin;

select 'currant._record_events(uuid, integer, bigint[], timestamptz)'::regprocedure;

select 'currant._record_commands(uuid, jsonb, timestamptz)'::regprocedure;

rollback;

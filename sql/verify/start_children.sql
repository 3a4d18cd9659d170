-- Verify currant:start_children on pg

begin;

select 'currant._keyed_to_start(jsonb, boolean)'::regprocedure;

select 'currant._to_start(currant._command[], uuid[])'::regprocedure;

select 'currant._policy_of_child(text, text, jsonb, text)'::regprocedure;

select 'currant._start_children(currant._command[], uuid, text[], integer, timestamptz)'::regprocedure;

rollback;

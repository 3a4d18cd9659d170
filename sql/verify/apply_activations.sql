-- Verify currant:apply_activations on pg

begin;

select 'currant._put_back(uuid, jsonb, boolean)'::regprocedure;

select 'currant._commands_of(currant._activation[])'::regprocedure;

select 'currant._apply_activations(uuid, currant._activation[], currant._ended, text[], integer, timestamptz)'::regprocedure;

rollback;

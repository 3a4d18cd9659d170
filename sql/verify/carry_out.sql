-- Verify currant:carry_out on pg

begin;

select 'currant._cancel_command(uuid, integer, timestamptz)'::regprocedure;

select 'currant._target(uuid)'::regprocedure;

select 'currant._start_keyed_child(uuid, jsonb, timestamptz)'::regprocedure;

select 'currant._carry_out(uuid, jsonb, boolean, timestamptz)'::regprocedure;

rollback;

-- Verify currant:read_activations on pg

begin;

select 'currant._check_sizes(currant._activation[])'::regprocedure;

select 'currant._read_activations(jsonb, boolean)'::regprocedure;

rollback;

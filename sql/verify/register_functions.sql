-- Verify currant:register_functions on pg

begin;

select 'currant.register_functions(jsonb)'::regprocedure;

rollback;

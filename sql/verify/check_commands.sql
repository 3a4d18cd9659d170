-- Verify currant:check_commands on pg

begin;

select 'currant._check_commands(jsonb[])'::regprocedure;

rollback;

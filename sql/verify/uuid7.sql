-- Verify currant:uuid7 on pg

begin;

select 'currant._uuid7()'::regprocedure;

rollback;

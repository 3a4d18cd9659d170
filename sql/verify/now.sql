-- Verify currant:now on pg

begin;

select 'currant._now()'::regprocedure;

rollback;

-- Verify currant:version on pg

begin;

select 'currant.version()'::regprocedure;

rollback;

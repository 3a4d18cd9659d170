-- Verify currant:tick on pg

begin;

select 'currant.tick(text)'::regprocedure;

rollback;

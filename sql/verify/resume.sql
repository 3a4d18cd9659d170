-- Verify currant:resume on pg

begin;

select 'currant.resume(uuid)'::regprocedure;

rollback;

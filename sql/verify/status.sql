-- Verify currant:status on pg

begin;

select 'currant.status(uuid)'::regprocedure;

rollback;

-- Verify currant:deregister_worker on pg

begin;

select 'currant.deregister_worker(uuid)'::regprocedure;

rollback;

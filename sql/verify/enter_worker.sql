-- Verify currant:enter_worker on pg

begin;

select 'currant._require_read_committed()'::regprocedure;

select 'currant._enter_worker(uuid)'::regprocedure;

rollback;

-- Verify currant:register_worker on pg

begin;

select 'currant.register_worker(jsonb)'::regprocedure;

rollback;

-- Verify currant:cancel on pg

begin;

select 'currant._is_idle(uuid)'::regprocedure;

select 'currant.cancel(uuid, text)'::regprocedure;

rollback;

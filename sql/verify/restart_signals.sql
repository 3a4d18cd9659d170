-- Verify currant:restart_signals on pg

begin;

select 'currant._restart_later(uuid[], timestamptz)'::regprocedure;

select 'currant._restart_signals(uuid[], timestamptz)'::regprocedure;

rollback;

-- Verify currant:retry_delay on pg

begin;

select 'currant._retry_delay(interval, double precision, interval, integer)'::regprocedure;

rollback;

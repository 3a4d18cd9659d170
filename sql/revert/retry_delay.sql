-- Revert currant:retry_delay from pg

begin;

drop function currant._retry_delay(interval, double precision, interval, integer);

commit;

-- Revert currant:leases from pg

begin;

drop table currant.leases;

commit;

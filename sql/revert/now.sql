-- Revert currant:now from pg

begin;

drop function currant._now();

commit;

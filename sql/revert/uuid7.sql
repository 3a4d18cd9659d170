-- Revert currant:uuid7 from pg

begin;

drop function currant._uuid7();

commit;

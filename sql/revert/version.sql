-- Revert currant:version from pg

begin;

drop function currant.version();

commit;

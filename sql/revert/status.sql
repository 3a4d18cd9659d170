-- Revert currant:status from pg

begin;

drop function currant.status(uuid);

commit;

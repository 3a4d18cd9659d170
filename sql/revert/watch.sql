-- Revert currant:watch from pg

begin;

drop function currant.watch(uuid, interval);

commit;

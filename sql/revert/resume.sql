-- Revert currant:resume from pg

begin;

drop function currant.resume(uuid);

commit;

-- Revert currant:cancel from pg

begin;

drop function currant.cancel(uuid, text);
drop function currant._is_idle(uuid);

commit;

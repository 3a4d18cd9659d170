-- Revert currant:cancel from pg

begin;

drop function currant.cancel(uuid, text, jsonb);

commit;

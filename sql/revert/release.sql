-- Revert currant:release from pg

begin;

drop function currant.release(uuid, uuid, bigint, text);

commit;

-- Revert currant:complete from pg

begin;

drop function currant.complete(uuid, uuid, bigint, jsonb);

commit;

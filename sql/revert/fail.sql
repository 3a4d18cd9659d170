-- Revert currant:fail from pg

begin;

drop function currant.fail(uuid, uuid, bigint, jsonb, interval);

commit;

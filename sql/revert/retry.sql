-- Revert currant:retry from pg

begin;

drop function currant.retry(uuid, jsonb);

commit;

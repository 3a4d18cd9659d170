-- Revert currant:duration from pg

begin;

drop function currant._duration(text, jsonb);

commit;

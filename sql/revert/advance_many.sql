-- Revert currant:advance_many from pg

begin;

drop function currant.advance_many(uuid, jsonb[]);

commit;

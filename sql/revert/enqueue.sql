-- Revert currant:enqueue from pg

begin;

drop function currant.enqueue(text, jsonb, jsonb);

commit;

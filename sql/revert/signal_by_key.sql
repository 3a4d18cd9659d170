-- Revert currant:signal_by_key from pg

begin;

drop function currant.signal_by_key(text, text, text, jsonb, jsonb);

commit;

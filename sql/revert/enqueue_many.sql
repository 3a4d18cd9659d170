-- Revert currant:enqueue_many from pg

begin;

drop function currant.enqueue_many(text, jsonb[], jsonb, uuid[]);
drop function currant._enqueue(text, jsonb[], jsonb, uuid[], text[], text);
drop function currant._claim_key(text, text, uuid, boolean);
drop function currant._try_key(text, text);
drop function currant._key_bucket(text, text);

commit;

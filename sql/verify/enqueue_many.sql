-- Verify currant:enqueue_many on pg

begin;

select 'currant._key_bucket(text, text)'::regprocedure;

select 'currant._try_key(text, text)'::regprocedure;

select 'currant._claim_key(text, text, uuid, boolean)'::regprocedure;

select 'currant._enqueue(text, jsonb[], jsonb, uuid[], text[], text)'::regprocedure;

select 'currant.enqueue_many(text, jsonb[], jsonb, uuid[])'::regprocedure;

rollback;

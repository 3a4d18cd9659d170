-- Verify currant:signal_by_key on pg

begin;

select 'currant.signal_by_key(text, text, text, jsonb, jsonb)'::regprocedure;

rollback;

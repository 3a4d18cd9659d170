-- Verify currant:enqueue on pg

begin;

select 'currant.enqueue(text, jsonb, jsonb)'::regprocedure;

rollback;

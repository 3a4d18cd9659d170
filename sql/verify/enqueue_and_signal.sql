-- Verify currant:enqueue_and_signal on pg

begin;

select 'currant._start_and_signal(text, jsonb, jsonb, uuid, text, jsonb, uuid, boolean)'::regprocedure;

select 'currant.enqueue_and_signal(text, jsonb, text, jsonb, jsonb)'::regprocedure;

rollback;

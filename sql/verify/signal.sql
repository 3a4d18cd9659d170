-- Verify currant:signal on pg

begin;

select 'currant._deliver(uuid, text, jsonb, uuid)'::regprocedure;

select 'currant._check_signal_name(text)'::regprocedure;

select 'currant.signal(uuid, text, jsonb, jsonb)'::regprocedure;

rollback;

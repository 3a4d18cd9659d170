-- Verify currant:signal on pg

begin;

select 'currant._deliver(uuid, text, jsonb, uuid, jsonb)'::regprocedure;

select 'currant._check_signal_name(text)'::regprocedure;

select 'currant._signal_id(text, text)'::regprocedure;

select 'currant._hold_signal_id(uuid)'::regprocedure;

select 'currant._try_signal_id(uuid)'::regprocedure;

select 'currant._key_holder(text, text)'::regprocedure;

select 'currant._not_delivered(uuid, uuid)'::regprocedure;

select 'currant.signal(uuid, text, jsonb, jsonb)'::regprocedure;

rollback;

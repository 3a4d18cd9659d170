-- Verify currant:notify on pg

begin;

select 'currant._notify_ready()'::regprocedure;

select 1 / count(*) from pg_catalog.pg_trigger as t where t.tgname = 'ready_notify' and t.tgrelid = 'currant.ready'::regclass;

select 'currant._notify_delayed()'::regprocedure;

select 1 / count(*) from pg_catalog.pg_trigger as t where t.tgname = 'delayed_notify' and t.tgrelid = 'currant.delayed'::regclass;

select 'currant._notify_ended()'::regprocedure;

select 1 / count(*) from pg_catalog.pg_trigger as t where t.tgname = 'outcomes_notify' and t.tgrelid = 'currant.outcomes'::regclass;

rollback;

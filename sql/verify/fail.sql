-- Verify currant:fail on pg

begin;

select 'currant.fail(uuid, uuid, bigint, jsonb, interval)'::regprocedure;

rollback;

-- Verify currant:fail_many on pg

begin;

select 'currant.fail_many(uuid, uuid[], bigint[], jsonb[], interval[])'::regprocedure;

rollback;

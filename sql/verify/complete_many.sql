-- Verify currant:complete_many on pg

begin;

select 'currant._take_leases(uuid, uuid[], bigint[], boolean)'::regprocedure;

select 'currant._words(uuid, uuid[], bigint[], bigint[])'::regprocedure;

select 'currant.complete_many(uuid, uuid[], bigint[], jsonb[])'::regprocedure;

rollback;

-- Verify currant:heartbeat on pg

begin;

select 'currant.heartbeat(uuid, uuid[], bigint[], jsonb[])'::regprocedure;

rollback;

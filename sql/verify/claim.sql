-- Verify currant:claim on pg

begin;

select 'currant._inbox_of(uuid)'::regprocedure;

select 'currant._continued(uuid, integer)'::regprocedure;

select 'currant._claimed(uuid, uuid[], bigint[], integer[], bigint[])'::regprocedure;

select 'currant.claim(uuid, text[], integer, integer, jsonb)'::regprocedure;

rollback;

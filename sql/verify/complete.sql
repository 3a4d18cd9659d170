-- Verify currant:complete on pg

begin;

select 'currant.complete(uuid, uuid, bigint, jsonb)'::regprocedure;

rollback;

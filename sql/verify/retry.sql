-- Verify currant:retry on pg

begin;

select 'currant.retry(uuid, jsonb)'::regprocedure;

rollback;

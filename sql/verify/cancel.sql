-- Verify currant:cancel on pg

begin;

select 'currant.cancel(uuid, text, jsonb)'::regprocedure;

rollback;

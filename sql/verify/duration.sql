-- Verify currant:duration on pg

begin;

select 'currant._duration(text, jsonb)'::regprocedure;

rollback;

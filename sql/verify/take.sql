-- Verify currant:take on pg

begin;

select 'currant._take(text, boolean, integer, jsonb)'::regprocedure;

rollback;

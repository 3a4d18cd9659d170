-- Verify currant:take on pg

begin;

select 'currant._stocked(text[], boolean)'::regprocedure;
select 'currant._take(text, boolean, integer, integer, jsonb)'::regprocedure;

rollback;

-- Verify currant:take on pg

begin;

select 'currant._stocked(text[])'::regprocedure;
select 'currant._take(text, boolean, integer, integer, jsonb)'::regprocedure;

rollback;

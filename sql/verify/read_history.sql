-- Verify currant:read_history on pg

begin;

select 'currant.history(uuid, integer)'::regprocedure;

rollback;

-- Verify currant:tree on pg

begin;

select 'currant.tree(uuid, integer)'::regprocedure;

rollback;

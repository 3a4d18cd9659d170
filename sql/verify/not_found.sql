-- Verify currant:not_found on pg

begin;

select 'currant._raise_not_found(uuid)'::regprocedure;

rollback;

-- Verify currant:admit_workflows on pg

begin;

select 'currant._keep_apart(currant._taken, uuid[], boolean)'::regprocedure;

select 'currant._admit_workflows(currant._taken, uuid[])'::regprocedure;

rollback;

-- Verify currant:admit_workflows on pg

begin;

select 'currant._admit_workflows(currant._taken, uuid[])'::regprocedure;

rollback;

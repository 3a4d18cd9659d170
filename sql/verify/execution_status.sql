-- Verify currant:execution_status on pg

begin;

select s.* from currant.execution_status as s where false;

rollback;

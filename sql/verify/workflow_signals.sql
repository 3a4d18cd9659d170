-- Verify currant:workflow_signals on pg

begin;

select s.* from currant.workflow_signals as s where false;

rollback;

-- Revert currant:execution_status from pg

begin;

drop view currant.open_executions;
drop view currant.execution_status;

commit;

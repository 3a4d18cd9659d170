-- Revert currant:execution_status from pg

begin;

drop view currant.execution_status;

commit;

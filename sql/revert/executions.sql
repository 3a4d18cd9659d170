-- Revert currant:executions from pg

begin;

drop table currant.executions;

commit;

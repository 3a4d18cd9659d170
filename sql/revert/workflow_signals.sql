-- Revert currant:workflow_signals from pg

begin;

drop view currant.workflow_signals;

commit;

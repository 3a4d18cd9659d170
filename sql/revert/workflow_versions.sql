-- Revert currant:workflow_versions from pg

begin;

drop view currant.workflow_versions;

commit;

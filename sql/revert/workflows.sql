-- Revert currant:workflows from pg

begin;

drop table currant.workflows;

commit;

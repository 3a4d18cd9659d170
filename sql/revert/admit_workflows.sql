-- Revert currant:admit_workflows from pg

begin;

drop function currant._admit_workflows(currant._taken, uuid[]);

commit;

-- Revert currant:admit_workflows from pg

begin;

drop function currant._admit_workflows(currant._taken, uuid[]);
drop function currant._keep_apart(currant._taken, uuid[], boolean);

commit;

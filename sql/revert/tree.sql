-- Revert currant:tree from pg

begin;

drop function currant.tree(uuid, integer);

commit;

-- Revert currant:delayed from pg

begin;

drop table currant.delayed;

commit;

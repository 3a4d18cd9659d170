-- Revert currant:ready from pg

begin;

drop table currant.ready;

commit;

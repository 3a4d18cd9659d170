-- Revert currant:cancels from pg

begin;

drop table currant.cancels;

commit;

-- Revert currant:workers from pg

begin;

drop table currant.workers;

commit;

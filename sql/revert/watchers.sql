-- Revert currant:watchers from pg

begin;

drop table currant.watchers;

commit;

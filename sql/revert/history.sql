-- Revert currant:history from pg

begin;

drop table currant.history_entries;

commit;

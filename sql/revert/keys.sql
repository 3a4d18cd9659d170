-- Revert currant:keys from pg

begin;

drop table currant.keys;

commit;

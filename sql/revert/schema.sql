-- Revert currant:schema from pg

begin;

drop schema currant;

commit;

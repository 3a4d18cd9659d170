-- Revert currant:settings from pg

begin;

drop table currant.configuration;

commit;

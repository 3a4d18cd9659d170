-- Revert currant:read_settings from pg

begin;

drop function currant.settings();

commit;

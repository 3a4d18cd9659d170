-- Revert currant:continue_as_new from pg

begin;

drop function currant._continue_as_new(uuid, timestamptz);

commit;

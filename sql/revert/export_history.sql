-- Revert currant:export_history from pg

begin;

drop function currant.export_history(uuid);
drop function currant._exported_entries(uuid, integer);
drop function currant._iso(timestamptz);

commit;

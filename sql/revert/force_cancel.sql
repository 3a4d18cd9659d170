-- Revert currant:force_cancel from pg

begin;

drop function currant._force_cancel(uuid, text, integer, timestamptz);
drop function currant._force_workflow(uuid, text, integer, timestamptz);
drop function currant._force_task(uuid, text, integer, timestamptz);
drop function currant._force_later(uuid, text, integer, timestamptz);

commit;

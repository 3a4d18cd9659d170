-- Revert currant:tell_workflow from pg

begin;

drop function currant._tell_end(uuid, integer, uuid, text, timestamptz);
drop function currant._tell_workflow(uuid, integer, uuid, text, jsonb, timestamptz);

commit;

-- Revert currant:end_workflow from pg

begin;

drop function currant._end_workflow(uuid, text, jsonb, jsonb, bigint, uuid, timestamptz);
drop function currant._cancel_children(uuid[], integer, text, timestamptz);
drop function currant._end_alone(uuid, text, jsonb, jsonb, bigint, uuid, timestamptz);
drop function currant._cancel_task(uuid, text, timestamptz);
drop function currant._note_cancel(uuid, text, timestamptz);

commit;

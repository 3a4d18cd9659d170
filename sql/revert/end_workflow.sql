-- Revert currant:end_workflow from pg

begin;

drop function currant._end_workflow(uuid, text, jsonb, timestamptz);
drop function currant._end_workflows(currant._end[], uuid, timestamptz);
drop function currant._cancel_children(uuid[], integer, text, timestamptz);
drop function currant._end_alone(currant._end[], uuid, timestamptz);
drop function currant._cancel_task(uuid, text, timestamptz);
drop function currant._note_cancel(uuid, text, timestamptz);

commit;

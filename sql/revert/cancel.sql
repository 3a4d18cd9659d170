-- Revert currant:cancel from pg

begin;

drop function currant.cancel(uuid, text);
drop function currant._end_workflow(uuid, text, jsonb, jsonb, bigint, uuid, timestamptz);
drop function currant._cancel_task(uuid, text, timestamptz);

commit;

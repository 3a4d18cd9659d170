-- Revert currant:start_tasks from pg

begin;

drop function currant._start_tasks(uuid, uuid, text, jsonb, timestamptz);

commit;

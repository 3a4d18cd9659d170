-- Revert currant:record_history from pg

begin;

drop function currant._record_commands(uuid, jsonb, timestamptz);
drop function currant._record_events(uuid, integer, bigint[], timestamptz);

commit;

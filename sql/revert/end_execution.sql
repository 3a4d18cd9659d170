-- Revert currant:end_execution from pg

begin;

drop function currant._cancelled_error(text);
drop function currant._attempt_failed(uuid, bigint, integer, uuid, timestamptz, jsonb, interval, timestamptz);
drop function currant._end_unsuccessfully(uuid, text, jsonb, integer, bigint, uuid, timestamptz, timestamptz);

commit;

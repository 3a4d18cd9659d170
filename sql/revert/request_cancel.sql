-- Revert currant:request_cancel from pg

begin;

drop function currant._request_cancel(uuid, text, timestamptz);
drop function currant._ask_to_end(uuid, text, timestamptz);
drop function currant._end_idle(uuid, text, timestamptz);
drop function currant._is_idle(uuid);

commit;

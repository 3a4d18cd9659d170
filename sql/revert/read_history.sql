-- Revert currant:read_history from pg

begin;

drop function currant.history(uuid, integer);

commit;

-- Revert currant:restart_signals from pg

begin;

drop function currant._restart_signals(uuid[], timestamptz);

commit;

-- Revert currant:restart_signals from pg

begin;

drop function currant._restart_signals(uuid[], timestamptz);
drop function currant._restart_later(uuid[], timestamptz);

commit;

-- Revert currant:enter_worker from pg

begin;

drop function currant._enter_worker(uuid);
drop function currant._require_read_committed();

commit;

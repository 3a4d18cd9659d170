-- Revert currant:deregister_worker from pg

begin;

drop function currant.deregister_worker(uuid);

commit;

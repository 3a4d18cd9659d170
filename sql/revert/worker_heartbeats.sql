-- Revert currant:worker_heartbeats from pg

begin;

drop view currant.worker_heartbeats;

commit;

-- Revert currant:queue_stats from pg

begin;

drop view currant.queue_stats;

commit;

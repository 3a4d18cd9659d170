-- Verify currant:queue_stats on pg

begin;

select
    queue,
    ready,
    delayed,
    running,
    oldest_ready_at
from currant.queue_stats
where false;

rollback;

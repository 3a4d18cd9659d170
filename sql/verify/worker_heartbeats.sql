-- Verify currant:worker_heartbeats on pg

begin;

select
    worker_id,
    host,
    pid,
    queues,
    concurrency,
    running,
    started_at,
    heartbeat_at,
    heartbeat_timeout,
    died_at,
    is_alive
from currant.worker_heartbeats
where false;

rollback;

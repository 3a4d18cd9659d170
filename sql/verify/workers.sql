-- Verify currant:workers on pg

begin;

select
    id,
    host,
    pid,
    queues,
    concurrency,
    heartbeat_timeout,
    started_at,
    heartbeat_at,
    waiting_until,
    died_at
from currant.workers
where false;

select
    worker_id,
    function,
    version
from currant.worker_functions
where false;

rollback;

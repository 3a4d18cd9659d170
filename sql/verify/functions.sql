-- Verify currant:functions on pg

begin;

select
    name,
    kind,
    version,
    queue,
    priority,
    retries,
    timeout,
    retry_delay,
    retry_backoff,
    retry_max_delay,
    registered_at
from currant.functions
where false;

rollback;

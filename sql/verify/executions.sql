-- Verify currant:executions on pg

begin;

select
    id,
    kind,
    function,
    version,
    queue,
    priority,
    args,
    max_attempts,
    timeout,
    retry_delay,
    retry_backoff,
    retry_max_delay,
    parent_id,
    command_number,
    root_id,
    retry_of,
    key,
    headers,
    created_at,
    on_parent_end
from currant.executions
where false;

rollback;

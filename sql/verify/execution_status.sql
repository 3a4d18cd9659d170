-- Verify currant:execution_status on pg

begin;

select
    id,
    kind,
    function,
    version,
    queue,
    priority,
    status,
    attempt,
    max_attempts,
    key,
    parent_id,
    root_id,
    retry_of,
    created_at,
    started_at,
    finished_at,
    outcome,
    due_at,
    worker_id,
    waits_for,
    is_cancel_requested,
    error_message
from currant.execution_status
where false;

select
    id,
    kind,
    function,
    version,
    queue,
    priority,
    status,
    attempt,
    max_attempts,
    key,
    parent_id,
    root_id,
    retry_of,
    created_at,
    started_at,
    finished_at,
    outcome,
    due_at,
    worker_id,
    waits_for,
    is_cancel_requested,
    error_message
from currant.open_executions
where false;

rollback;

-- Verify currant:workflows on pg

begin;

select
    execution_id,
    queue,
    rank,
    timeout,
    version,
    last_event,
    last_command,
    last_at,
    last_token,
    open_tasks,
    open_children,
    first_event,
    first_command,
    used,
    active_since,
    is_deadline_armed,
    has_attached,
    lost_activations,
    refused_ends,
    blocked_reason,
    blocked_since,
    waits_for
from currant.workflows
where false;

rollback;

-- Verify currant:leases on pg

begin;

select
    execution_id,
    token,
    worker_id,
    attempt,
    is_workflow,
    parent_id,
    command_number,
    claimed_at,
    deadline_at
from currant.leases
where false;

rollback;

-- Verify currant:workflow_signals on pg

begin;

select
    execution_id,
    name,
    payload,
    arrived_at,
    is_applied
from currant.workflow_signals
where false;

rollback;

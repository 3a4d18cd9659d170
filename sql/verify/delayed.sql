-- Verify currant:delayed on pg

begin;

select
    execution_id,
    kind,
    number,
    due_at,
    attempt,
    reason
from currant.delayed
where false;

rollback;

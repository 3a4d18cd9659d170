-- Verify currant:outcomes on pg

begin;

select
    execution_id,
    status,
    result,
    error,
    attempt,
    token,
    worker_id,
    started_at,
    finished_at
from currant.outcomes
where false;

rollback;

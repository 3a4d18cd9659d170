-- Verify currant:attempts on pg

begin;

select
    execution_id,
    token,
    attempt,
    worker_id,
    started_at,
    ended_at,
    error
from currant.attempts
where false;

select
    execution_id,
    details,
    reported_at
from currant.progress
where false;

rollback;

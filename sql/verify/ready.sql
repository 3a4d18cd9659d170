-- Verify currant:ready on pg

begin;

select
    seq,
    execution_id,
    queue,
    rank,
    attempt,
    is_workflow
from currant.ready
where false;

rollback;

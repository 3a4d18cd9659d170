-- Verify currant:cancels on pg

begin;

select
    execution_id,
    id,
    reason,
    requested_at
from currant.cancels
where false;

rollback;

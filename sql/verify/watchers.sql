-- Verify currant:watchers on pg

begin;

select
    execution_id,
    watching_until,
    workflow_id,
    number
from currant.watchers
where false;

rollback;

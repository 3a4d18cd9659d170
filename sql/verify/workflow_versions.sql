-- Verify currant:workflow_versions on pg

begin;

select
    function,
    change_id,
    version,
    runs,
    oldest_id
from currant.workflow_versions
where false;

rollback;

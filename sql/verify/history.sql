-- Verify currant:history on pg

begin;

select
    workflow_id,
    event,
    position,
    kind,
    number,
    name,
    payload,
    child_id,
    source,
    at,
    restart
from currant.history_entries
where false;

rollback;

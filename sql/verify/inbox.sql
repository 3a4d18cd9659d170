-- Verify currant:inbox on pg

begin;

select
    workflow_id,
    arrival,
    kind,
    number,
    name,
    payload,
    child_id,
    arrived_at,
    restart
from currant.inbox
where false;

select
    workflow_id,
    signal_id,
    arrival
from currant.signal_ids
where false;

rollback;

-- Verify currant:ticker on pg

begin;

select
    is_only,
    ticked_at,
    steady_since,
    swept_at,
    sweep_took,
    swept_to,
    enforced_at
from currant.ticker
where false;

rollback;

-- Verify currant:watchers on pg

begin;

select
    execution_id,
    watching_until
from currant.watchers
where false;

rollback;

-- Verify currant:keys on pg

begin;

select
    function,
    key,
    execution_id
from currant.keys
where false;

rollback;

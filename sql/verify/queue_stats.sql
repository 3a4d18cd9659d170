-- Verify currant:queue_stats on pg

begin;

select s.* from currant.queue_stats as s where false;

rollback;

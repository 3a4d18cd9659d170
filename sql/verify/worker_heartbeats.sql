-- Verify currant:worker_heartbeats on pg

begin;

select s.* from currant.worker_heartbeats as s where false;

rollback;

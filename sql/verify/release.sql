-- Verify currant:release on pg

begin;

select 'currant.release(uuid, uuid, bigint, text)'::regprocedure;

rollback;

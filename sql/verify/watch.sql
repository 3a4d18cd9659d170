-- Verify currant:watch on pg

begin;

select 'currant.watch(uuid, interval)'::regprocedure;

rollback;

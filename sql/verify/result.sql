-- Verify currant:result on pg

begin;

select 'currant.result(uuid)'::regprocedure;

rollback;

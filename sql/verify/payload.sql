-- Verify currant:payload on pg

begin;

select 'currant._check_size(text, bigint)'::regprocedure;

rollback;

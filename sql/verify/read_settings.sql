-- Verify currant:read_settings on pg

begin;

select 'currant.settings()'::regprocedure;

rollback;

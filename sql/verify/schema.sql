-- Verify currant:schema on pg

begin;

select 'currant'::regnamespace;

rollback;

-- Verify currant:roles on pg

begin;

select 'currant_client'::regrole;

select 'currant_worker'::regrole;

select 'currant_observer'::regrole;

select 'currant_admin'::regrole;

select 1 / pg_catalog.has_schema_privilege('currant_client', 'currant', 'usage')::integer;

rollback;

-- Deploy currant:version to pg
-- requires: roles

begin;

create or replace function currant.version()
returns text
language sql
immutable
security definer
set search_path = pg_catalog, pg_temp
begin atomic
    select '0.1.0';
end;

comment on function currant.version() is
'The version of the deployed schema, as major.minor.patch. Client and worker compare it with their own when they connect.';

revoke all on function currant.version() from public;
grant execute on function currant.version() to currant_client, currant_worker, currant_observer, currant_admin;

commit;

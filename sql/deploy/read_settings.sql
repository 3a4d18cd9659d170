-- Deploy currant:read_settings to pg
-- requires: settings
-- requires: roles

begin;

create or replace function currant.settings()
returns table (
    hash_seed bigint,
    max_payload_bytes integer,
    default_retries integer,
    default_timeout interval,
    default_workflow_timeout interval
)
language sql
stable
security definer
set search_path = pg_catalog, pg_temp
begin atomic
    select
        c.hash_seed,
        c.max_payload_bytes,
        c.default_retries,
        c.default_timeout,
        c.default_workflow_timeout
    from currant.configuration as c;
end;

comment on function currant.settings() is
'The settings of the installation: one row. hash_seed is the PYTHONHASHSEED of every Python worker; the others are the limits and defaults that enqueue applies.';

revoke all on function currant.settings() from public;
grant execute on function currant.settings() to currant_client, currant_worker, currant_observer, currant_admin;

commit;

-- Deploy currant:not_found to pg
-- requires: schema

begin;

create or replace function currant._raise_not_found(execution uuid)
returns void
language plpgsql
immutable
set search_path = pg_catalog, pg_temp
as $$
begin
    raise exception using
        errcode = 'KR004', message = 'execution not found', detail = format('execution %s', execution),
        hint = 'check the id and the database';
end
$$;

comment on function currant._raise_not_found(uuid) is
'Raises that there is no such execution. Errors: KR004.';

revoke all on function currant._raise_not_found(uuid) from public;

commit;

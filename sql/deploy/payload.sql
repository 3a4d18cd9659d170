-- Deploy currant:payload to pg
-- requires: settings

begin;

create or replace function currant._check_size(what text, bytes bigint)
returns void
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
declare
    _max integer;
begin
    select c.max_payload_bytes into _max from currant.configuration as c;
    if bytes > _max then
        raise exception using
            errcode = 'KR005', message = format('%s too large: %s bytes', what, bytes),
            detail = format('%s may have %s bytes', what, _max),
            hint = 'store it elsewhere and send a reference, or raise currant.configuration.max_payload_bytes';
    end if;
end
$$;

comment on function currant._check_size(text, bigint) is
'Refuses a payload over the configured limit. Errors: KR005.';

revoke all on function currant._check_size(text, bigint) from public;

commit;

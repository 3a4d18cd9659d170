-- Deploy currant:check_commands to pg
-- requires: payload

begin;

create or replace function currant._check_commands(commands jsonb[])
returns void
language plpgsql
stable
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set jit = off
as $$
declare
    _ends integer;
    _unknown integer;
    _whole bigint;
    _result bigint;
    _arguments bigint;
    _options bigint;
begin
    select max(f.ends), sum(f.unknown), max(pg_column_size(x.value))
    into _ends, _unknown, _whole
    from unnest(commands) as x (value)
    cross join lateral (
        select
            count(*) filter (where c.kind in ('complete', 'fail', 'cancelled', 'continue_as_new')) as ends,
            count(*) filter (
                where
                    coalesce(c.kind, '') not in (
                        'task', 'timer', 'child', 'attach', 'queue', 'signal', 'request_cancel', 'side_effect',
                        'cancel', 'version', 'complete', 'fail', 'cancelled', 'continue_as_new'
                    )
                    or (c.kind in ('task', 'child', 'queue') and c.payload ->> 'id' is null)
            ) as unknown
        from jsonb_to_recordset(x.value) as c (kind text, payload jsonb)
    ) as f;
    if _unknown > 0 then
        raise exception using
            errcode = '22023', message = 'unknown kind of command',
            detail = format('%s commands of a kind that this schema does not know, or without an id', _unknown),
            hint = 'deploy the schema of the version that the worker has';
    end if;
    if _ends > 1 then
        raise exception using
            errcode = '22023', message = 'the commands do not fit the activation',
            detail = format('%s ends', _ends), hint = 'a workflow ends once, or continues as new';
    end if;
    -- No part is larger than the whole.
    if _whole > (select c.max_payload_bytes from currant.configuration as c) then
        select
            max(pg_column_size(c.payload)) filter (
                where
                    c.kind in ('timer', 'attach', 'side_effect', 'cancel', 'version', 'complete', 'fail', 'cancelled')
            ),
            max(pg_column_size(c.payload -> 'args')) filter (where c.kind in ('task', 'child', 'continue_as_new')),
            max(pg_column_size(c.payload -> 'options')) filter (where c.kind in ('task', 'child'))
        into _result, _arguments, _options
        from unnest(commands) as x (value)
        cross join lateral jsonb_to_recordset(x.value) as c (kind text, payload jsonb);
        perform currant._check_size('result', _result);
        perform currant._check_size('arguments', _arguments);
        perform currant._check_size('options', _options);
    end if;
end
$$;

comment on function currant._check_commands(jsonb[]) is
'Refuses commands of unknown kinds, several ends, and what is too large to be kept. Each element has the commands of one activation. Errors: 22023, KR005.';

revoke all on function currant._check_commands(jsonb[]) from public;

commit;

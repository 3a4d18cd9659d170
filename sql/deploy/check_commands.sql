-- Deploy currant:check_commands to pg
-- requires: payload

begin;

create or replace function currant._check_commands(commands jsonb[])
returns void
language plpgsql
stable
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set jit = off
as $$
declare
    _ends integer;
    _unknown integer;
    _result bigint;
    _arguments bigint;
begin
    select max(f.ends), sum(f.unknown), max(f.result), max(f.arguments)
    into _ends, _unknown, _result, _arguments
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
            ) as unknown,
            max(pg_column_size(c.payload)) filter (
                where
                    c.kind in ('timer', 'attach', 'side_effect', 'cancel', 'version', 'complete', 'fail', 'cancelled')
            ) as result,
            max(pg_column_size(c.payload -> 'args')) filter (where c.kind = 'continue_as_new') as arguments
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
    perform currant._check_size('result', _result);
    perform currant._check_size('arguments', _arguments);
end
$$;

comment on function currant._check_commands(jsonb[]) is
'Refuses commands of unknown kinds, several ends, and what is too large to be written into a history. Each element has the commands of one activation. Errors: 22023, KR005.';

revoke all on function currant._check_commands(jsonb[]) from public;

commit;

-- Deploy currant:read_activations to pg
-- requires: types
-- requires: payload

begin;

create or replace function currant._check_sizes(activations currant._activation[])
returns void
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
declare
    _result bigint;
    _arguments bigint;
    _options bigint;
begin
    select
        max(pg_column_size(c.payload)) filter (
            where c.kind in ('timer', 'attach', 'side_effect', 'cancel', 'version', 'complete', 'fail', 'cancelled')
        ),
        max(pg_column_size(c.payload -> 'args')) filter (where c.kind in ('task', 'child', 'continue_as_new')),
        max(pg_column_size(c.payload -> 'options')) filter (where c.kind in ('task', 'child'))
    into _result, _arguments, _options
    from unnest(activations) as a
    cross join lateral jsonb_to_recordset(a.commands) as c (kind text, payload jsonb);
    perform currant._check_size('result', _result);
    perform currant._check_size('arguments', _arguments);
    perform currant._check_size('options', _options);
    -- The signals that a run inherits have been measured one by one when they were sent.
    perform currant._check_size(
        'options',
        (select max(pg_column_size((a.options - 'unread') #- '{started,signals}')) from unnest(activations) as a)
    );
end
$$;

comment on function currant._check_sizes(currant._activation[]) is
'Refuses activations of which a part is too large to be kept. Errors: KR005.';

revoke all on function currant._check_sizes(currant._activation[]) from public;

create or replace function currant._read_activations(given jsonb, can_be_ahead boolean)
returns currant._activation[]
language plpgsql
stable
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set plan_cache_mode = force_generic_plan
set jit = off
as $$
declare
    _read record;
begin
    if jsonb_typeof(given) is distinct from 'array' then
        raise exception using
            errcode = '22004', message = 'activations are missing',
            detail = 'activations', hint = 'give an array of objects';
    end if;
    select
        coalesce(
            array_agg(
                row(
                    a.n, a.execution, a.token, a.loaded, a.at, a.arrivals, a.ended, a.commands, a.options, f.kinds,
                    f.earliest, f.latest, f.last_command,
                    case
                        when f.ends > 0 then (
                            select c.value
                            from jsonb_array_elements(a.commands) as c (value)
                            where c.value ->> 'kind' in ('complete', 'fail', 'cancelled', 'continue_as_new')
                            limit 1
                        )
                    end,
                    false, null, false, false
                )::currant._activation
                order by a.n
            ),
            '{}'
        ) as activations,
        max(
            'execution ' || coalesce(a.execution::text, '') || ': ' || case
                when a.execution is null then 'execution is missing'
                when a.loaded is null then 'last_event is missing'
                when f.kinds is null then 'commands is not an array'
                when jsonb_typeof(a.options) is distinct from 'object' then 'options is not an object'
                when a.ended = '{}' or not can_be_ahead then
                    case
                        when a.token is null then 'token is missing'
                        when a.ended <> '{}' then 'completions are for step_many'
                    end
                when a.token is not null then 'it has both a token and completions'
                when array_position(a.ended, null) is not null then 'a completion has no token'
                when a.at is null then 'at is missing'
                when a.arrivals <> '{}' then 'arrivals are for activations under a lease'
                when a.options ->> 'blocked' is not null then 'blocked is for activations under a lease'
            end
        ) as problem,
        max(f.ends) as ends, sum(f.unknown) as unknown,
        max(pg_column_size(a.commands)) as size, max(pg_column_size(a.options)) as size_of_options
    into _read
    from (
        select
            x.n, (x.value ->> 'execution')::uuid as execution, (x.value ->> 'token')::bigint as token,
            (x.value ->> 'last_event')::integer as loaded, (x.value ->> 'at')::timestamptz as at,
            case
                when x.value -> 'arrivals' <> '[]' then array(
                    select a.arrival::bigint
                    from jsonb_array_elements_text(x.value -> 'arrivals') with ordinality as a (arrival, n)
                    order by a.n
                )
                else array[]::bigint[]
            end as arrivals,
            case
                when x.value ? 'completions' then array(
                    select (c.value ->> 'token')::bigint
                    from jsonb_array_elements(x.value -> 'completions') with ordinality as c (value, n)
                    order by c.n
                )
                else array[]::bigint[]
            end as ended,
            x.value -> 'commands' as commands, coalesce(x.value -> 'options', '{}') as options
        from jsonb_array_elements(given) with ordinality as x (value, n)
        offset 0
    ) as a
    cross join lateral (
        select
            case when jsonb_typeof(a.commands) = 'array' then coalesce(array_agg(c.kind), '{}') end as kinds,
            min(coalesce(c.event, 0)) as earliest,
            max(c.event) as latest,
            max(c.number) filter (where c.kind not in ('cancel', 'version')) as last_command,
            count(*) filter (where c.kind in ('complete', 'fail', 'cancelled', 'continue_as_new')) as ends,
            count(*) filter (
                where
                    coalesce(c.kind, '') not in (
                        'task', 'timer', 'child', 'attach', 'queue', 'signal', 'request_cancel', 'side_effect',
                        'cancel', 'version', 'complete', 'fail', 'cancelled', 'continue_as_new'
                    )
                    or (c.kind in ('task', 'child', 'queue') and c.payload ->> 'id' is null)
                    -- Without one its end could not be told, nor could it be found when its parent ends.
                    or (c.kind in ('task', 'child') and c.number is null)
            ) as unknown
        from jsonb_to_recordset(case when jsonb_typeof(a.commands) = 'array' then a.commands else '[]' end)
            as c (event integer, kind text, number integer, payload jsonb)
    ) as f;
    if _read.problem is not null then
        raise exception using
            errcode = '22023', message = 'an activation is not complete',
            detail = _read.problem,
            hint = 'give execution, last_event and commands, and token and arrivals, or with step_many completions and at';
    end if;
    if _read.unknown > 0 then
        raise exception using
            errcode = '22023', message = 'unknown kind of command',
            detail = format('%s commands of a kind that this schema does not know, or without an id or number', _read.unknown),
            hint = 'deploy the schema of the version that the worker has';
    end if;
    if _read.ends > 1 then
        raise exception using
            errcode = '22023', message = 'the commands do not fit the activation',
            detail = format('%s ends', _read.ends), hint = 'a workflow ends once, or continues as new';
    end if;
    -- No part is larger than the whole.
    if greatest(_read.size, _read.size_of_options) > (select c.max_payload_bytes from currant.configuration as c) then
        perform currant._check_sizes(_read.activations);
    end if;
    return _read.activations;
end
$$;

comment on function currant._read_activations(jsonb, boolean) is
'Reads and checks what a worker wants to commit: an array of activations, see advance_many and, where they can be ahead of their completions, step_many. Errors: 22004, 22023, KR005.';

revoke all on function currant._read_activations(jsonb, boolean) from public;

commit;

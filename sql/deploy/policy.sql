-- Deploy currant:policy to pg
-- requires: types
-- requires: functions
-- requires: settings
-- requires: duration
-- requires: now

begin;

-- As data, because an expression with a branch for each option takes longer to set up than an enqueue.
create or replace function currant._option_rules()
returns jsonb
language sql
immutable
begin atomic
    select '{
        "id": {
            "type": "string", "like": "^[0-9a-f]{8}-?([0-9a-f]{4}-?){3}[0-9a-f]{12}$", "wanted": "a UUID as text"
        },
        "kind": {"type": "string", "among": ["task", "workflow"], "wanted": "the text task or workflow"},
        "queue": {"type": "string", "most": 200, "wanted": "a text of 1 to 200 characters"},
        "priority": {
            "type": "number", "least": -1000000, "most": 1000000, "is_whole": true,
            "wanted": "a whole number from -1000000 to 1000000"
        },
        "run_at": {"type": "string", "wanted": "a timestamp as text"},
        "retries": {
            "type": "number", "least": 0, "most": 1000000, "is_whole": true,
            "wanted": "a whole number from 0 to 1000000"
        },
        "key": {"type": "string", "most": 1000, "wanted": "a text of 1 to 1000 characters"},
        "keys": {"type": "array", "wanted": "an array of texts of 1 to 1000 characters, or nulls"},
        "key_scope": {"type": "string", "among": ["always", "open"], "wanted": "the text always or open"},
        "force": {"type": "boolean", "wanted": "true or false"},
        "on_parent_end": {"type": "string", "among": ["cancel", "abandon"], "wanted": "the text cancel or abandon"},
        "signal_id": {
            "type": "string", "like": "^[0-9a-f]{8}-?([0-9a-f]{4}-?){3}[0-9a-f]{12}$", "wanted": "a UUID as text"
        },
        "signal_key": {"type": "string", "most": 1000, "wanted": "a text of 1 to 1000 characters"},
        "version": {
            "type": "number", "least": 1, "most": 1000000000, "is_whole": true, "wanted": "a whole number from 1"
        },
        "headers": {"type": "object", "wanted": "an object"},
        "retry_backoff": {"type": "number", "least": 1, "most": 1000000, "wanted": "a number from 1"},
        "pid": {
            "type": "number", "least": 0, "most": 2000000000, "is_whole": true, "wanted": "a whole number from 0"
        },
        "concurrency": {
            "type": "number", "least": 1, "most": 1000000, "is_whole": true, "wanted": "a whole number from 1"
        },
        "host": {"type": "string", "wanted": "a text"},
        "queues": {"type": "array", "wanted": "an array of texts of 1 to 1000 characters"},
        "functions": {"type": "array", "wanted": "an array of objects"}
    }'::jsonb;
end;

comment on function currant._option_rules() is
'What a value of each option has to be: its JSON type, the length of a text or the bounds of a number, the texts it may be, a pattern, and all that in words. Durations are checked when they are read.';

revoke all on function currant._option_rules() from public;

create or replace function currant._check_options(options jsonb, known text[])
returns void
language plpgsql
immutable
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
as $$
declare
    _bad text;
    _is_unknown boolean;
begin
    if options is null or jsonb_typeof(options) <> 'object' then
        raise exception using
            errcode = '22023', message = 'options are not a JSON object',
            detail = format('options are %s', coalesce(left(options::text, 200), 'null')),
            hint = 'known options: ' || array_to_string(known, ', ');
    end if;
    if options = '{}' then
        return;
    end if;
    -- What nearly every enqueue says is seen to be right without a query, by one path over all of it: an expression of
    -- its own for each option would have to be set up in every transaction.
    if options - known = '{}'
        and options - array['id', 'kind', 'queue', 'version', 'retries', 'priority', 'timeout', 'delay'] = '{}'
        and not options @? 'strict $ ? (
            exists(@.id ? (@.type() != "string"))
            || exists(@.kind ? (@.type() != "string" || (@ != "task" && @ != "workflow")))
            || exists(@.queue ? (@.type() != "string" || @ == ""))
            || exists(@.version ? (@.type() != "number" || @ < 1 || @ > 1000000000 || @.floor() != @))
            || exists(@.retries ? (@.type() != "number" || @ < 0 || @ > 1000000 || @.floor() != @))
            || exists(@.priority ? (@.type() != "number" || @ < -1000000 || @ > 1000000 || @.floor() != @))
        )'
        and (length(options ->> 'queue') <= 200) is not false
        -- A regular expression would take as long as all the rest.
        and (
            options ->> 'id' like '________-____-____-____-____________'
            and translate(options ->> 'id', '0123456789abcdefABCDEF', '') = repeat('-', 4)
        ) is not false
    then
        return;
    end if;
    select o.name, o.name <> all (known) into _bad, _is_unknown
    from jsonb_each(options) as o (name, value)
    cross join lateral (select currant._option_rules() -> o.name as rule) as r
    where
        case
            when o.name <> all (known) then true
            when r.rule is null or o.value = 'null' then false
            when jsonb_typeof(o.value) <> r.rule ->> 'type' then true
            when r.rule ? 'most' and jsonb_typeof(o.value) = 'string' then
                length(o.value #>> '{}') not between 1 and (r.rule -> 'most')::integer
            when r.rule ? 'most' then
                o.value::numeric not between (r.rule -> 'least')::numeric and (r.rule -> 'most')::numeric
                or (r.rule ? 'is_whole' and o.value::numeric % 1 <> 0)
            when r.rule ? 'among' then not r.rule -> 'among' @> o.value
            when r.rule ? 'like' then not o.value #>> '{}' ~* (r.rule ->> 'like')
            else false
        end
    order by o.name = any (known)
    limit 1;
    if not found and (options ? 'keys' or options ? 'queues') then
        select o.name, false into _bad, _is_unknown
        from jsonb_each(options) as o (name, value)
        where
            o.name in ('keys', 'queues') and o.value <> 'null'
            and exists (
                select from jsonb_array_elements(o.value) as x (value)
                where
                    (jsonb_typeof(x.value) <> 'string' and (o.name = 'queues' or x.value <> 'null'))
                    or length(x.value #>> '{}') not between 1 and 1000
            )
        limit 1;
    end if;
    if not found then
        return;
    end if;
    if _is_unknown then
        raise exception using
            errcode = '22023', message = format('unknown option %s', _bad),
            detail = format('%s is not an option of this call', _bad),
            hint = 'known options: ' || array_to_string(known, ', ');
    end if;
    _bad := format('option %s has to be %s', _bad, currant._option_rules() -> _bad ->> 'wanted');
    raise exception using
        errcode = '22023', message = _bad, detail = _bad,
        hint = 'known options: ' || array_to_string(known, ', ');
end
$$;

comment on function currant._check_options(jsonb, text[]) is
'Refuses options that are no object, hold an unknown key or a value of the wrong type. Errors: 22023, the option named in the detail, the known ones in the hint.';

revoke all on function currant._check_options(jsonb, text[]) from public;

create or replace function currant._enqueue_options(keys text[])
returns text[]
language sql
immutable
begin atomic
    select
        array['kind', 'queue', 'priority', 'delay', 'run_at', 'retries', 'timeout']
        || keys
        || array['version', 'headers', 'retry_delay', 'retry_backoff', 'retry_max_delay'];
end;

comment on function currant._enqueue_options(text[]) is
'The options that an execution may be asked for with; those about idempotency keys depend on who asks.';

revoke all on function currant._enqueue_options(text[]) from public;

create or replace function currant._policy(function text, options jsonb, fallback_queue text)
returns currant._policy
language plpgsql
stable
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
as $$
declare
    _result currant._policy;
    _run_at timestamptz;
    _delay interval;
begin
    if function is null or function = '' or length(function) > 500 then
        raise exception using
            errcode = '22023', message = 'a function name is needed',
            detail = 'the argument function is empty or longer than 500 characters',
            hint = 'give the name of a task or workflow';
    end if;
    if options ->> 'delay' is not null and options ->> 'run_at' is not null then
        raise exception using
            errcode = '22023', message = 'options delay and run_at exclude each other',
            detail = 'delay, run_at', hint = 'give one of them';
    end if;
    if options ->> 'run_at' is not null then
        begin
            _run_at := (options ->> 'run_at')::timestamptz;
        -- A text that is no timestamp: the caller is told which option it was.
        exception when invalid_datetime_format or datetime_field_overflow or invalid_parameter_value then
            raise exception using
                errcode = '22023', message = 'option run_at is not a timestamp',
                detail = format('run_at is %s', options -> 'run_at'),
                hint = 'give an ISO 8601 timestamp with its offset, such as 2030-01-31T08:00:00Z';
        end;
        if not isfinite(_run_at) or _run_at >= '9000-01-01 00:00:00Z'
            or options ->> 'run_at' !~* '\d.*(Z|[+-]\d\d(:?\d\d)?)$'
        then
            raise exception using
                errcode = '22023', message = 'option run_at is not a moment with an offset',
                detail = format('run_at is %s', options -> 'run_at'),
                hint = 'give an ISO 8601 timestamp with its offset, such as 2030-01-31T08:00:00Z';
        end if;
    end if;
    if options ? 'delay' then
        _delay := currant._duration('delay', options -> 'delay');
    end if;

    select
        coalesce(options ->> 'kind', f.kind, 'task'),
        coalesce((options ->> 'version')::numeric::integer, f.version, 1),
        coalesce(
            options ->> 'queue', f.queue, fallback_queue, case when f.name is not null then 'default' end
        ),
        coalesce((options ->> 'priority')::numeric::integer, f.priority, 0),
        1 + coalesce((options ->> 'retries')::numeric::integer, f.retries, c.default_retries),
        coalesce(
            case when options ? 'timeout' then currant._duration('timeout', options -> 'timeout') end,
            f.timeout,
            case coalesce(options ->> 'kind', f.kind)
                when 'workflow' then c.default_workflow_timeout
                else c.default_timeout
            end
        ),
        coalesce(
            case when options ? 'retry_delay' then currant._duration('retry_delay', options -> 'retry_delay') end,
            f.retry_delay,
            c.default_retry_delay
        ),
        coalesce((options ->> 'retry_backoff')::double precision, f.retry_backoff, c.default_retry_backoff),
        coalesce(
            case
                when options ? 'retry_max_delay'
                    then currant._duration('retry_max_delay', options -> 'retry_max_delay')
            end,
            f.retry_max_delay,
            c.default_retry_max_delay
        ),
        coalesce(_run_at, currant._now() + _delay),
        case when jsonb_typeof(options -> 'headers') = 'object' then options -> 'headers' end,
        c.max_payload_bytes
    into _result
    from currant.configuration as c
    left join currant.functions as f on f.name = _policy.function;

    if _result.queue is null then
        raise exception using
            errcode = 'KR001', message = format('no worker has registered the function %s', function),
            detail = format('%s is not in the list of known functions, and the options name no queue', function),
            hint = 'start a worker that has it or run "currant register", or name a queue in the options';
    end if;
    if _result.timeout <= interval '0' then
        raise exception using
            errcode = '22023', message = 'option timeout has to be more than nothing',
            detail = 'timeout', hint = 'give seconds as a number over 0, or an interval such as ''5 minutes''';
    end if;
    if _result.kind = 'workflow' then
        _result.max_attempts := 1;
    end if;
    return _result;
end
$$;

comment on function currant._policy(text, jsonb, text) is
'What an execution of the function is to be run with: the options of the call, then the registered declaration, then the configured defaults; the fallback queue is for a function that declares none. The options must have been checked. Errors: 22023, KR001.';

revoke all on function currant._policy(text, jsonb, text) from public;

commit;

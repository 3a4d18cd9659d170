-- Deploy currant:policy to pg
-- requires: types
-- requires: functions
-- requires: settings
-- requires: duration
-- requires: now

begin;

create or replace function currant._check_options(options jsonb, known text[])
returns void
language plpgsql
immutable
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
as $$
declare
    _bad text;
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
    if options - known <> '{}' then
        select o.name into _bad from jsonb_object_keys(options - known) as o (name) limit 1;
        raise exception using
            errcode = '22023', message = format('unknown option %s', _bad),
            detail = format('%s is not an option of this call', _bad),
            hint = 'known options: ' || array_to_string(known, ', ');
    end if;
    -- What nearly every enqueue says is seen to be right without a query.
    if options - array['id', 'kind', 'queue', 'version', 'retries', 'priority', 'timeout', 'delay'] = '{}'
        and coalesce(
            jsonb_typeof(options -> 'id') = 'string'
            and options ->> 'id' ~* '^[0-9a-f]{8}-?([0-9a-f]{4}-?){3}[0-9a-f]{12}$',
            not options ? 'id'
        )
        and coalesce(options -> 'kind' in ('"task"', '"workflow"'), not options ? 'kind')
        and coalesce(
            jsonb_typeof(options -> 'queue') = 'string' and length(options ->> 'queue') between 1 and 200,
            not options ? 'queue'
        )
        and coalesce(
            jsonb_typeof(options -> 'version') = 'number' and options ->> 'version' ~ '^[1-9][0-9]{0,8}$',
            not options ? 'version'
        )
        and coalesce(
            jsonb_typeof(options -> 'retries') = 'number' and options ->> 'retries' ~ '^[0-9]{1,6}$',
            not options ? 'retries'
        )
        and coalesce(
            jsonb_typeof(options -> 'priority') = 'number' and options ->> 'priority' ~ '^-?[0-9]{1,6}$',
            not options ? 'priority'
        )
    then
        return;
    end if;
    select format('option %s has to be %s', o.name, w.wanted) into _bad
    from jsonb_each(options) as o (name, value)
    join (values
        ('id', 'string', 'a UUID as text'),
        ('kind', 'string', 'the text task or workflow'),
        ('queue', 'string', 'a text of 1 to 200 characters'),
        ('priority', 'number', 'a whole number from -1000000 to 1000000'),
        ('run_at', 'string', 'a timestamp as text'),
        ('retries', 'number', 'a whole number from 0 to 1000000'),
        ('key', 'string', 'a text of 1 to 1000 characters'),
        ('keys', 'array', 'an array of texts of 1 to 1000 characters, or nulls'),
        ('key_scope', 'string', 'the text always or open'),
        ('force', 'boolean', 'true or false'),
        ('on_parent_end', 'string', 'the text cancel or abandon'),
        ('signal_id', 'string', 'a UUID as text'),
        ('signal_key', 'string', 'a text of 1 to 1000 characters'),
        ('version', 'number', 'a whole number from 1'),
        ('headers', 'object', 'an object'),
        ('retry_backoff', 'number', 'a number from 1'),
        ('pid', 'number', 'a whole number from 0'),
        ('concurrency', 'number', 'a whole number from 1'),
        ('host', 'string', 'a text'),
        ('queues', 'array', 'an array of texts of 1 to 1000 characters'),
        ('functions', 'array', 'an array of objects')
    ) as w (name, type, wanted) on w.name = o.name
    where
        case
            when jsonb_typeof(o.value) = 'null' then false
            when jsonb_typeof(o.value) <> w.type then true
            when o.name in ('id', 'signal_id') then
                not o.value #>> '{}' ~* '^[0-9a-f]{8}-?([0-9a-f]{4}-?){3}[0-9a-f]{12}$'
            when o.name = 'kind' then o.value #>> '{}' not in ('task', 'workflow')
            when o.name = 'queue' then length(o.value #>> '{}') not between 1 and 200
            when o.name in ('key', 'signal_key') then length(o.value #>> '{}') not between 1 and 1000
            when o.name = 'key_scope' then o.value #>> '{}' not in ('always', 'open')
            when o.name = 'on_parent_end' then o.value #>> '{}' not in ('cancel', 'abandon')
            when w.wanted like 'a whole number%' and o.value::numeric % 1 <> 0 then true
            when o.name = 'priority' then abs(o.value::numeric) > 1000000
            when o.name = 'retries' then o.value::numeric not between 0 and 1000000
            when o.name = 'version' then o.value::numeric not between 1 and 1000000000
            when o.name = 'pid' then o.value::numeric not between 0 and 2000000000
            when o.name = 'concurrency' then o.value::numeric not between 1 and 1000000
            when o.name in ('queues', 'keys') then exists (
                select from jsonb_array_elements(o.value) as x (value)
                where
                    (jsonb_typeof(x.value) <> 'string' and (o.name = 'queues' or x.value <> 'null'))
                    or length(x.value #>> '{}') not between 1 and 1000
            )
            when o.name = 'retry_backoff' then o.value::numeric not between 1 and 1000000
            else false
        end
    limit 1;
    if found then
        raise exception using
            errcode = '22023', message = _bad, detail = _bad,
            hint = 'known options: ' || array_to_string(known, ', ');
    end if;
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
    _delay := currant._duration('delay', options -> 'delay');

    select
        coalesce(options ->> 'kind', f.kind, 'task'),
        coalesce((options ->> 'version')::numeric::integer, f.version, 1),
        coalesce(
            options ->> 'queue', f.queue, fallback_queue, case when f.name is not null then 'default' end
        ),
        coalesce((options ->> 'priority')::numeric::integer, f.priority, 0),
        1 + coalesce((options ->> 'retries')::numeric::integer, f.retries, c.default_retries),
        coalesce(
            currant._duration('timeout', options -> 'timeout'),
            f.timeout,
            case coalesce(options ->> 'kind', f.kind)
                when 'workflow' then c.default_workflow_timeout
                else c.default_timeout
            end
        ),
        coalesce(currant._duration('retry_delay', options -> 'retry_delay'), f.retry_delay, c.default_retry_delay),
        coalesce((options ->> 'retry_backoff')::double precision, f.retry_backoff, c.default_retry_backoff),
        coalesce(
            currant._duration('retry_max_delay', options -> 'retry_max_delay'),
            f.retry_max_delay,
            c.default_retry_max_delay
        ),
        coalesce(_run_at, currant._now() + _delay),
        case when jsonb_typeof(options -> 'headers') = 'object' then options -> 'headers' end
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

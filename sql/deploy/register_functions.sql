-- Deploy currant:register_functions to pg
-- requires: functions
-- requires: policy
-- requires: duration
-- requires: delayed
-- requires: release_many
-- requires: roles

begin;

create or replace function currant.register_functions(functions jsonb)
returns integer
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
as $$
declare
    _now timestamptz := currant._now();
    _declaration jsonb;
    _names text[] := array[]::text[];
    _freed record;
begin
    if jsonb_typeof(functions) is distinct from 'array' then
        raise exception using
            errcode = '22023', message = 'functions are not a JSON array',
            detail = format('functions is %s', coalesce(left(functions::text, 100), 'null')),
            hint = 'give an array of objects with name and kind';
    end if;
    -- In order of name, so that workers starting together do not deadlock.
    for _declaration in
        select f.value from jsonb_array_elements(functions) as f (value) order by f.value ->> 'name'
    loop
        if jsonb_typeof(_declaration) <> 'object' or length(coalesce(_declaration ->> 'name', '')) not between 1 and 500
        then
            raise exception using
                errcode = '22023', message = 'a declaration is no object with a name',
                detail = left(_declaration::text, 200),
                hint = 'give every function an object with its name, up to 500 characters';
        end if;
        perform currant._check_options(_declaration - 'name', array[
            'kind', 'version', 'queue', 'priority', 'retries', 'timeout',
            'retry_delay', 'retry_backoff', 'retry_max_delay'
        ]);
        if currant._duration('timeout', _declaration -> 'timeout') <= interval '0' then
            raise exception using
                errcode = '22023', message = 'option timeout has to be more than nothing',
                detail = format('timeout of %s', _declaration ->> 'name'),
                hint = 'give seconds as a number over 0, or an interval such as ''5 minutes''';
        end if;
        _names := _names || (_declaration ->> 'name');
        -- What is stored already is not written again: an upsert would wait for whoever has the row locked.
        continue when exists (
            select from currant.functions as f
            where
                f.name = _declaration ->> 'name'
                and (
                    f.version > coalesce((_declaration ->> 'version')::numeric::integer, 1)
                    or (
                        f.kind, f.version, f.queue, f.priority, f.retries, f.timeout, f.retry_delay,
                        f.retry_backoff, f.retry_max_delay
                    ) is not distinct from (
                        coalesce(_declaration ->> 'kind', 'task'),
                        coalesce((_declaration ->> 'version')::numeric::integer, 1),
                        _declaration ->> 'queue',
                        (_declaration ->> 'priority')::numeric::integer,
                        (_declaration ->> 'retries')::numeric::integer,
                        currant._duration('timeout', _declaration -> 'timeout'),
                        currant._duration('retry_delay', _declaration -> 'retry_delay'),
                        (_declaration ->> 'retry_backoff')::double precision,
                        currant._duration('retry_max_delay', _declaration -> 'retry_max_delay')
                    )
                )
        );
        insert into currant.functions as f (
            name, kind, version, queue, priority, retries, timeout,
            retry_delay, retry_backoff, retry_max_delay, registered_at
        ) values (
            _declaration ->> 'name',
            coalesce(_declaration ->> 'kind', 'task'),
            coalesce((_declaration ->> 'version')::numeric::integer, 1),
            _declaration ->> 'queue',
            (_declaration ->> 'priority')::numeric::integer,
            (_declaration ->> 'retries')::numeric::integer,
            currant._duration('timeout', _declaration -> 'timeout'),
            currant._duration('retry_delay', _declaration -> 'retry_delay'),
            (_declaration ->> 'retry_backoff')::double precision,
            currant._duration('retry_max_delay', _declaration -> 'retry_max_delay'),
            _now
        )
        on conflict on constraint functions_pkey do update
        set
            kind = excluded.kind, version = excluded.version, queue = excluded.queue, priority = excluded.priority,
            retries = excluded.retries, timeout = excluded.timeout, retry_delay = excluded.retry_delay,
            retry_backoff = excluded.retry_backoff, retry_max_delay = excluded.retry_max_delay,
            registered_at = excluded.registered_at
        where excluded.version >= f.version;
    end loop;

    -- What others gave back because they did not know the function, or blocked, may be run by this one. The rest of
    -- very many becomes ready when it is due.
    for _freed in
        delete from currant.delayed as d
        where d.ctid = any (array(
            select c.ctid
            from currant.delayed as c
            cross join lateral (
                select x.function from currant.executions as x where x.id = c.execution_id limit 1
            ) as e
            where c.kind in ('release', 'blocked') and e.function = any (_names)
            limit 1000
            for update of c skip locked
        ))
        returning d.execution_id, d.attempt
    loop
        perform currant._make_ready(_freed.execution_id, _freed.attempt);
    end loop;
    return cardinality(_names);
end
$$;

comment on function currant.register_functions(jsonb) is
'Stores declarations, [{"name", "kind", "version", "queue", "priority", "retries", "timeout", "retry_delay", "retry_backoff", "retry_max_delay"}]: the defaults for enqueueing these functions from anywhere. A declaration of a lower version than the stored one changes nothing. Executions that were given back because no worker knew them, and blocked workflows of these functions, become ready. Returns how many were given. May be repeated. Errors: 22023.';

revoke all on function currant.register_functions(jsonb) from public;
grant execute on function currant.register_functions(jsonb) to currant_worker, currant_admin;

commit;

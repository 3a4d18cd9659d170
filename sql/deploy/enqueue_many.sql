-- Deploy currant:enqueue_many to pg
-- requires: executions
-- requires: ready
-- requires: delayed
-- requires: workflows
-- requires: keys
-- requires: outcomes
-- requires: policy
-- requires: payload
-- requires: uuid7
-- requires: roles

begin;

-- Applications hold a bucket shared and are kept apart by the unique index alone; advance tries it exclusively, and so
-- learns that some application has a key of the bucket in an open transaction. Buckets, because the server's lock
-- table is shared by all its databases and does not hold a lock for every key of a large batch.
create or replace function currant._key_bucket(function text, key text)
returns integer
language sql
immutable
begin atomic
    select (hashtextextended(function || ' ' || key, 1) & 1023)::integer;
end;

comment on function currant._key_bucket(text, text) is
'The number of the advisory lock that stands for an idempotency key and others like it.';

revoke all on function currant._key_bucket(text, text) from public;

create or replace function currant._try_key(function text, key text)
returns boolean
language sql
volatile
set search_path = pg_catalog, pg_temp
begin atomic
    select key is null or pg_try_advisory_xact_lock(1262506571, currant._key_bucket(function, key));
end;

comment on function currant._try_key(text, text) is
'Whether the key can be claimed without waiting for another transaction; from then on others wait for this one. Now and then no because of another key.';

revoke all on function currant._try_key(text, text) from public;

-- An insert that meets the same key waits for the other caller's commit; a single "insert … on conflict do nothing
-- returning" would then return no row although one exists, hence the loop. Keys are taken in sorted order, so that
-- two batches with the same keys cannot deadlock.
create or replace function currant._claim_key(function text, key text, id uuid, is_open_scope boolean)
returns uuid
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    _holder uuid;
    _result uuid;
begin
    perform pg_advisory_xact_lock_shared(1262506571, currant._key_bucket(function, key));
    while _result is null
    loop
        insert into currant.keys as k (function, key, execution_id)
        values (_claim_key.function, _claim_key.key, _claim_key.id)
        on conflict on constraint keys_pkey do nothing
        returning k.execution_id into _holder;
        if found then
            _result := _holder;
            continue;
        end if;
        select k.execution_id into _holder
        from currant.keys as k
        where k.function = _claim_key.function and k.key = _claim_key.key;
        if not found then
            continue;
        end if;
        if not is_open_scope or _holder = id
            or not exists (select from currant.outcomes as o where o.execution_id = _holder)
        then
            _result := _holder;
            continue;
        end if;
        update currant.keys as k
        set execution_id = _claim_key.id
        where k.function = _claim_key.function and k.key = _claim_key.key and k.execution_id = _holder;
        if found then
            _result := id;
        end if;
    end loop;
    return _result;
end
$$;

comment on function currant._claim_key(text, text, uuid, boolean) is
'The execution that the key stands for from now on: the given one if the key was free (or, in open scope, its holder has ended), else the holder.';

revoke all on function currant._claim_key(text, text, uuid, boolean) from public;

create or replace function currant._enqueue(
    function text,
    args jsonb[],
    options jsonb,
    ids uuid[],
    keys text[],
    fallback_queue text
)
returns uuid[]
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
as $$
declare
    _now timestamptz := currant._now();
    _policy currant._policy;
    _ids uuid[] := ids;
    _bad text;
    _bytes bigint;
    _new uuid[];
    _holder uuid;
    _n integer;
begin
    _policy := currant._policy(function, options, fallback_queue);
    -- One by itself needs no query.
    if cardinality(args) = 1 and jsonb_typeof(args[1]) in ('object', 'array') then
        _bytes := pg_column_size(args[1]);
    else
        select max(pg_column_size(a.value)), max(left(a.value::text, 100)) filter (
            where a.value is null or jsonb_typeof(a.value) not in ('object', 'array')
        ), count(*) filter (where a.value is null)
        into _bytes, _bad, _n
        from unnest(args) as a (value);
    end if;
    if _bad is not null or _n > 0 then
        raise exception using
            errcode = '22023', message = 'arguments are neither a JSON object nor an array',
            detail = format('args is %s', coalesce(_bad, 'null')),
            hint = 'an object holds keyword arguments, an array positional ones';
    end if;
    if greatest(_bytes, pg_column_size(_policy.headers)) > _policy.max_payload_bytes then
        perform currant._check_size('arguments', _bytes);
        perform currant._check_size('headers', pg_column_size(_policy.headers));
    end if;

    if keys is not null then
        for _n in
            select k.n::integer from unnest(keys) with ordinality as k (key, n)
            where k.key is not null
            order by k.key, k.n
        loop
            _holder := currant._claim_key(
                function, keys[_n], _ids[_n], coalesce(options ->> 'key_scope', 'always') = 'open'
            );
            _ids[_n] := _holder;
        end loop;
    end if;

    -- An id that is there already, or whose key is another's, is left alone: the call may be a repetition. In the
    -- order of ids, so that two calls with the same ids cannot deadlock. One by itself is the usual case, and values
    -- are a third of the cost of a query.
    if cardinality(_ids) = 1 then
        insert into currant.executions (
            id, kind, function, version, queue, priority, args, max_attempts, timeout,
            retry_delay, retry_backoff, retry_max_delay, root_id, key, headers, created_at
        )
        values (
            _ids[1], _policy.kind, _enqueue.function, _policy.version, _policy.queue, _policy.priority,
            _enqueue.args[1], _policy.max_attempts, _policy.timeout, _policy.retry_delay, _policy.retry_backoff,
            _policy.retry_max_delay, _ids[1], _enqueue.keys[1], _policy.headers, _now
        )
        on conflict on constraint executions_pkey do nothing;
        if not found then
            return _ids;
        end if;
        if _policy.kind = 'task' and (_policy.due_at > _now) is not true then
            insert into currant.ready (execution_id, queue, rank, attempt, is_workflow)
            values (_ids[1], _policy.queue, 1 - 2 * _policy.priority, 1, false);
            return _ids;
        end if;
        _new := _ids;
    else
        with inserted as (
            insert into currant.executions as e (
                id, kind, function, version, queue, priority, args, max_attempts, timeout,
                retry_delay, retry_backoff, retry_max_delay, root_id, key, headers, created_at
            )
            select
                i.id, _policy.kind, _enqueue.function, _policy.version, _policy.queue, _policy.priority, i.args,
                _policy.max_attempts, _policy.timeout, _policy.retry_delay, _policy.retry_backoff,
                _policy.retry_max_delay, i.id, i.key, _policy.headers, _now
            from unnest(_ids, args, _enqueue.keys) with ordinality as i (id, args, key, n)
            order by i.id
            on conflict on constraint executions_pkey do nothing
            returning e.id
        )
        select array_agg(i.id) into _new from inserted as i;
    end if;
    if _new is null then
        return _ids;
    end if;

    if _policy.kind = 'workflow' then
        insert into currant.workflows (execution_id, queue, rank, timeout, version, last_at)
        select i.id, _policy.queue, -2 * _policy.priority, _policy.timeout, _policy.version, _now
        from unnest(_new) as i (id);
    end if;
    if _policy.due_at > _now then
        insert into currant.delayed (execution_id, kind, due_at)
        select i.id, 'start', _policy.due_at
        from unnest(_new) as i (id);
    else
        -- All new, so none twice.
        if cardinality(_new) = cardinality(_ids) then
            insert into currant.ready (execution_id, queue, rank, attempt, is_workflow)
            select i.id, _policy.queue, 1 - 2 * _policy.priority, 1, _policy.kind = 'workflow'
            from unnest(_ids) with ordinality as i (id, n)
            order by i.n;
        else
            insert into currant.ready (execution_id, queue, rank, attempt, is_workflow)
            select i.id, _policy.queue, 1 - 2 * _policy.priority, 1, _policy.kind = 'workflow'
            from (select x.id, min(x.n) as n from unnest(_ids) with ordinality as x (id, n) group by x.id) as i
            where i.id = any (_new)
            order by i.n;
        end if;
    end if;
    return _ids;
end
$$;

comment on function currant._enqueue(text, jsonb[], jsonb, uuid[], text[], text) is
'Stores executions of one function with the same options; returns the ids that count, in order. Errors: 22023, KR001, KR005.';

revoke all on function currant._enqueue(text, jsonb[], jsonb, uuid[], text[], text) from public;

create or replace function currant.enqueue_many(
    function text,
    args jsonb[],
    options jsonb default '{}',
    ids uuid[] default null
)
returns setof uuid
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    _keys text[];
begin
    perform currant._check_options(options, currant._enqueue_options(array['keys', 'key_scope']));
    if args is null then
        raise exception using
            errcode = '22004', message = 'args is null',
            detail = 'args', hint = 'give an array of JSON objects, one for each execution';
    end if;
    if ids is not null and (cardinality(ids) <> cardinality(args) or array_position(ids, null) is not null) then
        raise exception using
            errcode = '22023', message = 'ids and args differ in number, or an id is null',
            detail = format('%s ids, %s args', cardinality(ids), cardinality(args)),
            hint = 'give one id for each element of args, or none at all';
    end if;
    if jsonb_typeof(options -> 'keys') = 'array' then
        select array_agg(k.key order by k.n) into _keys
        from jsonb_array_elements_text(options -> 'keys') with ordinality as k (key, n);
        if cardinality(_keys) is distinct from cardinality(args) then
            raise exception using
                errcode = '22023', message = 'keys and args differ in number',
                detail = format('keys: %s, args: %s', coalesce(cardinality(_keys), 0), cardinality(args)),
                hint = 'give one key, or null, for each element of args';
        end if;
    end if;
    return query
    select i.id
    from unnest(currant._enqueue(
        enqueue_many.function,
        enqueue_many.args,
        enqueue_many.options,
        coalesce(enqueue_many.ids, array(select currant._uuid7() from unnest(enqueue_many.args))),
        _keys,
        null
    )) as i (id);
end
$$;

comment on function currant.enqueue_many(text, jsonb[], jsonb, uuid[]) is
'Asks for many executions of one function with the same options, each with its own arguments, in the caller''s transaction. Returns their ids in the order of args. Options as for enqueue, except id and key: ids are given as an array (a call repeated with the same ids has no second effect), and the option keys is an array with one idempotency key, or null, for each. All are stored or none. Errors: 22023, 22004, KR001, KR005.';

revoke all on function currant.enqueue_many(text, jsonb[], jsonb, uuid[]) from public;
grant execute on function currant.enqueue_many(text, jsonb[], jsonb, uuid[])
to currant_client, currant_worker, currant_admin;

commit;

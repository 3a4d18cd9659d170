-- Deploy currant:advance to pg
-- requires: start_tasks
-- requires: carry_out
-- requires: history
-- requires: release_many
-- requires: enter_worker

begin;

-- Lock order: the workflow's row, then its lease; both are tried, not waited for. After the row is locked every
-- statement has a fresh snapshot, so an event whose wake row a claim removed in favour of this holder is seen here.
create or replace function currant._advance(
    worker uuid,
    execution uuid,
    token bigint,
    last_event integer,
    arrivals bigint[],
    commands jsonb,
    options jsonb
)
returns text
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set plan_cache_mode = force_generic_plan
set jit = off
as $$
declare
    _now timestamptz := currant._now();
    _workflow record;
    _at timestamptz;
    _root_id uuid;
    _queue text;
    _taken integer;
    _ended_children integer := 0;
    _started integer := 0;
    _event integer;
    _end jsonb := (
        select c.value from jsonb_array_elements(commands) as c (value)
        where c.value ->> 'kind' in ('complete', 'fail', 'cancelled')
        limit 1
    );
begin
    -- A key that an application's open transaction has just taken is not waited for.
    if exists (
        select from jsonb_array_elements(commands) as c (value)
        where
            c.value ->> 'kind' = 'queue'
            and not currant._try_key(c.value ->> 'name', c.value -> 'payload' -> 'options' ->> 'key')
    ) then
        return 'busy';
    end if;

    select
        w.last_event, w.last_command, w.last_at, w.last_token, w.open_children, w.used, w.active_since, w.timeout,
        w.is_deadline_armed, w.refused_ends, w.blocked_reason
    into _workflow
    from currant.workflows as w
    where w.execution_id = _advance.execution
    for update skip locked;
    if not found then
        if exists (select from currant.workflows as w where w.execution_id = _advance.execution) then
            return 'busy';
        end if;
        return case
            when exists (
                select from currant.outcomes as o
                where o.execution_id = _advance.execution and o.token = _advance.token
            ) then 'already'
            else 'lost'
        end;
    end if;

    select l.claimed_at into _at
    from currant.leases as l
    where l.execution_id = _advance.execution and l.token = _advance.token and l.worker_id = _advance.worker
    for update skip locked;
    if not found then
        return case
            when _workflow.last_token = token then 'already'
            when exists (
                select from currant.leases as l
                where
                    l.execution_id = _advance.execution and l.token = _advance.token
                    and l.worker_id = _advance.worker
            ) then 'busy'
            else 'lost'
        end;
    end if;

    delete from currant.leases as l
    where l.execution_id = _advance.execution and l.token = _advance.token;

    if options ->> 'blocked' is not null then
        update currant.workflows as w
        set last_token = _advance.token
        where w.execution_id = _advance.execution;
        perform currant._block_workflow(execution, left(options ->> 'blocked', 10000), _now);
        return 'accepted';
    end if;

    if _workflow.last_event <> last_event then
        perform currant._make_ready(execution, 1);
        return 'stale';
    end if;

    if _end is not null and _workflow.refused_ends < 3 and exists (
        select from currant.inbox as i
        where
            i.workflow_id = _advance.execution
            and i.kind in ('signal_received', 'cancel_requested')
            and i.arrival <> all (_advance.arrivals)
    ) then
        update currant.workflows as w
        set refused_ends = w.refused_ends + 1
        where w.execution_id = _advance.execution;
        perform currant._make_ready(execution, 1);
        return 'refused';
    end if;

    _event := last_event;
    if _event = 0 then
        _event := 1;
        insert into currant.history_entries (workflow_id, event, position, kind, payload, at)
        values (_advance.execution, 1, 0, 'started', _advance.options -> 'started', _at);
    end if;

    with applied as (
        delete from currant.inbox as i
        where i.workflow_id = _advance.execution and i.arrival = any (_advance.arrivals)
        returning i.arrival, i.kind, i.number, i.name, i.payload, i.child_id
    ),
    stored as (
        insert into currant.history_entries (
            workflow_id, event, position, kind, number, name, payload, child_id, at
        )
        select
            _advance.execution, _event + t.n, 0, a.kind, a.number, a.name, a.payload, a.child_id, _at
        from unnest(arrivals) with ordinality as t (arrival, n)
        join applied as a on a.arrival = t.arrival
    )
    select count(*), count(*) filter (where a.kind in ('task_completed', 'task_failed'))
    into _taken, _ended_children
    from applied as a;
    if _taken <> cardinality(arrivals) then
        raise exception using
            errcode = '22023', message = 'arrivals are not all in the inbox',
            detail = format('workflow %s: %s of %s found', execution, _taken, cardinality(arrivals)),
            hint = 'give each arrival of the claimed inbox once';
    end if;
    _event := _event + _taken;

    if commands <> '[]' then
        insert into currant.history_entries (
            workflow_id, event, position, kind, number, name, payload, child_id, source, at
        )
        select
            _advance.execution,
            (c.value ->> 'event')::integer,
            row_number() over (partition by (c.value ->> 'event')::integer order by c.n),
            c.value ->> 'kind',
            (c.value ->> 'number')::integer,
            c.value ->> 'name',
            case
                when c.value ->> 'kind' in ('task', 'queue') then c.value -> 'payload' -> 'options'
                when c.value ->> 'kind' = 'complete' then null
                else nullif(c.value -> 'payload', 'null')
            end,
            case when c.value ->> 'kind' in ('task', 'queue') then (c.value -> 'payload' ->> 'id')::uuid end,
            c.value ->> 'source',
            _at
        from jsonb_array_elements(commands) with ordinality as c (value, n);
    end if;

    if _end is not null then
        perform currant._carry_out(execution, commands, _at);
        perform currant._end_workflow(
            execution,
            case _end ->> 'kind' when 'complete' then 'completed' when 'fail' then 'failed' else 'cancelled' end,
            case when _end ->> 'kind' = 'complete' then coalesce(_end -> 'payload' -> 'result', 'null') end,
            case
                when _end ->> 'kind' = 'complete' then null
                else coalesce(nullif(_end -> 'payload' -> 'error', 'null'), currant._cancelled_error(null))
            end,
            token, worker, _now
        );
        return 'accepted';
    end if;

    if commands <> '[]' then
        select e.root_id, e.queue into _root_id, _queue
        from currant.executions as e
        where e.id = _advance.execution;
        _started := currant._start_tasks(execution, _root_id, _queue, commands, _now);
        perform currant._carry_out(execution, commands, _at);
    end if;

    -- Its own time: the activation itself, and whatever passed while a task of it was open.
    update currant.workflows as w
    set
        last_event = _event,
        last_command = coalesce(
            (select max((c.value ->> 'number')::integer) from jsonb_array_elements(_advance.commands) as c (value)
            where c.value ->> 'kind' not in ('cancel', 'version')),
            w.last_command
        ),
        last_at = _at,
        last_token = _advance.token,
        version = greatest(w.version, coalesce((_advance.options ->> 'version')::integer, 1)),
        open_children = w.open_children - _ended_children + _started,
        used = w.used + greatest(_now - coalesce(w.active_since, _at), interval '0'),
        active_since = case when w.open_children - _ended_children + _started > 0 then _now end,
        is_deadline_armed = w.is_deadline_armed or w.open_children - _ended_children + _started > 0,
        lost_activations = 0,
        refused_ends = 0,
        blocked_reason = null,
        waits_for = left(_advance.options ->> 'waits_for', 500)
    where w.execution_id = _advance.execution;
    if _workflow.blocked_reason is not null then
        delete from currant.delayed as d
        where d.ctid = any (array(
            select c.ctid from currant.delayed as c
            where c.execution_id = _advance.execution and c.kind = 'blocked'
            for update skip locked
        ));
    end if;
    if not _workflow.is_deadline_armed and _workflow.open_children - _ended_children + _started > 0 then
        insert into currant.delayed (execution_id, kind, due_at)
        values (_advance.execution, 'deadline', _now + greatest(_workflow.timeout - _workflow.used, interval '0'))
        on conflict on constraint delayed_pkey do nothing;
    end if;

    if exists (select from currant.inbox as i where i.workflow_id = _advance.execution) then
        insert into currant.ready (execution_id, queue, rank, attempt, is_workflow)
        select w.execution_id, w.queue, w.rank, 0, true
        from currant.workflows as w
        where w.execution_id = _advance.execution;
    end if;
    return 'accepted';
end
$$;

comment on function currant._advance(uuid, uuid, bigint, integer, bigint[], jsonb, jsonb) is
'advance, without its checks.';

revoke all on function currant._advance(uuid, uuid, bigint, integer, bigint[], jsonb, jsonb) from public;

create or replace function currant.advance(
    worker uuid,
    execution uuid,
    token bigint,
    last_event integer,
    arrivals bigint[],
    commands jsonb,
    options jsonb default '{}'
)
returns text
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    _ends integer;
    _unknown integer;
    _bytes bigint;
    _misplaced integer;
begin
    perform currant._enter_worker(worker);
    select
        count(*) filter (where c.value ->> 'kind' in ('complete', 'fail', 'cancelled')),
        count(*) filter (
            where
                coalesce(c.value ->> 'kind', '') not in (
                    'task', 'timer', 'queue', 'signal', 'cancel', 'version', 'complete', 'fail', 'cancelled'
                )
                or (c.value ->> 'kind' in ('task', 'queue') and c.value -> 'payload' ->> 'id' is null)
        ),
        max(pg_column_size(c.value -> 'payload')) filter (
            where c.value ->> 'kind' in ('timer', 'cancel', 'version', 'complete', 'fail', 'cancelled')
        ),
        count(*) filter (
            where coalesce((c.value ->> 'event')::integer, 0) not between
                last_event + 1 and last_event + cardinality(arrivals) + case when last_event = 0 then 1 else 0 end
        )
    into _ends, _unknown, _bytes, _misplaced
    from jsonb_array_elements(case when jsonb_typeof(commands) = 'array' then commands else '[]' end) as c (value);
    if _unknown > 0 then
        raise exception using
            errcode = '22023', message = 'unknown kind of command',
            detail = format('%s commands of a kind that this schema does not know, or without an id', _unknown),
            hint = 'deploy the schema of the version that the worker has';
    end if;
    perform currant._check_size('result', _bytes);
    perform currant._check_size('options', pg_column_size(options));
    if _ends > 1 or _misplaced > 0 then
        raise exception using
            errcode = '22023', message = 'the commands do not fit the activation',
            detail = format('%s ends, %s commands of other events', _ends, _misplaced),
            hint = 'one end at most, and each command names an event that this activation applies';
    end if;
    if execution is null or token is null or last_event is null or arrivals is null
        or jsonb_typeof(commands) is distinct from 'array' or jsonb_typeof(options) is distinct from 'object'
    then
        raise exception using
            errcode = '22023', message = 'an activation is not complete',
            detail = format('execution %s, token %s, last_event %s', execution, token, last_event),
            hint = 'none may be null; commands is an array, options an object';
    end if;
    return currant._advance(worker, execution, token, last_event, arrivals, commands, options);
end
$$;

comment on function currant.advance(uuid, uuid, bigint, integer, bigint[], jsonb, jsonb) is
'Commits one activation of a workflow: the events taken from its inbox (arrivals, in the order applied; the first activation has the event 1, started, before them) and the commands they caused, if the workflow is still at last_event and the token''s lease holds; then the tasks, timers, signals and cancels that the commands mean exist, and the workflow is parked, woken again or ended, all in one transaction. Options: started (payload of the first event), version (of the code that ran), waits_for (in words, for status), blocked (a reason: nothing is applied, and it is tried again later). Returns accepted; already (a repeated call); lost (the lease is gone); busy (send it again); refused (it would end while a signal or a cancellation is unread: run it again); stale (it is not at last_event: run it again). Errors: KR001, KR002, KR005, KR008, 22023; then nothing has happened.';

revoke all on function currant.advance(uuid, uuid, bigint, integer, bigint[], jsonb, jsonb) from public;
grant execute on function currant.advance(uuid, uuid, bigint, integer, bigint[], jsonb, jsonb)
to currant_worker, currant_admin;

commit;

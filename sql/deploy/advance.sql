-- Deploy currant:advance to pg
-- requires: check_commands
-- requires: record_history
-- requires: start_children
-- requires: carry_out
-- requires: continue_as_new
-- requires: cancels
-- requires: release_many
-- requires: enter_worker

begin;

create or replace function currant._put_back(workflow_id uuid, events jsonb, is_cancelled boolean)
returns void
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    insert into currant.inbox (workflow_id, arrival, kind, name, payload, arrived_at, restart)
    overriding system value
    select
        h.workflow_id, (h.restart ->> 'arrival')::bigint, h.kind, h.name, h.payload,
        (h.restart ->> 'arrived_at')::timestamptz, h.restart
    from jsonb_array_elements_text(events) as e (event)
    join currant.history_entries as h
        on h.workflow_id = _put_back.workflow_id and h.event = e.event::integer and h.position = 0
    where
        h.restart is not null
        and (
            not is_cancelled
            or (h.restart ->> 'arrived_at')::timestamptz > coalesce(
                (select min(c.requested_at) from currant.cancels as c where c.execution_id = h.workflow_id),
                '-infinity'
            )
        )
    on conflict on constraint inbox_pkey do nothing;
end
$$;

comment on function currant._put_back(uuid, jsonb, boolean) is
'Puts signals back into the inbox of a workflow that ends without having taken them, if they are for the next one then: not those that were sent before its cancellation was asked for, if it ends as cancelled.';

revoke all on function currant._put_back(uuid, jsonb, boolean) from public;

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
    _ended integer[];
    _started integer[] := array[0, 0];
    _open_tasks integer;
    _open_children integer;
    _event integer;
    _kinds text[];
    _earliest integer;
    _latest integer;
    _last_command integer;
    _end jsonb;
    _continues boolean;
begin
    select
        coalesce(array_agg(distinct c.value ->> 'kind'), '{}'),
        min(coalesce((c.value ->> 'event')::integer, 0)),
        max((c.value ->> 'event')::integer),
        max((c.value ->> 'number')::integer) filter (where c.value ->> 'kind' not in ('cancel', 'version')),
        (
            array_agg(c.value) filter (
                where c.value ->> 'kind' in ('complete', 'fail', 'cancelled', 'continue_as_new')
            )
        )[1]
    into _kinds, _earliest, _latest, _last_command, _end
    from jsonb_array_elements(commands) as c (value);
    _continues := coalesce(_end ->> 'kind' = 'continue_as_new', false);

    select
        w.last_event, w.first_event, w.last_token, w.open_tasks, w.open_children, w.used, w.timeout,
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

    -- A key that an application's open transaction has just taken is not waited for; nor is the lease held until it is
    -- taken away, as if the worker were lost.
    if _kinds && array['queue', 'child'] and exists (
        select from jsonb_array_elements(commands) as c (value)
        where
            c.value ->> 'kind' in ('queue', 'child')
            and not currant._try_key(c.value ->> 'name', c.value -> 'payload' -> 'options' ->> 'key')
    ) then
        if _at > _now - interval '20 seconds' then
            return 'busy';
        end if;
        insert into currant.delayed (execution_id, kind, number, due_at)
        values (
            _advance.execution, 'wake', nextval(pg_get_serial_sequence('currant.ready', 'seq')) % 2147483647,
            _now + interval '1 second'
        );
        delete from currant.leases as l
        where l.execution_id = _advance.execution and l.token = _advance.token;
        return 'refused';
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

    if _end is not null and not _continues and _workflow.refused_ends < 3 and exists (
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
    if _event = _workflow.first_event - 1 then
        _event := _event + 1;
        insert into currant.history_entries (workflow_id, event, position, kind, payload, at)
        values (_advance.execution, _event, 0, 'started', _advance.options -> 'started', _at);
    end if;
    _ended := currant._record_events(execution, _event, arrivals, _at);
    _event := _event + cardinality(arrivals);
    _open_tasks := _workflow.open_tasks - _ended[1];
    _open_children := _workflow.open_children - _ended[2];

    if _earliest <= last_event or _latest > _event or (_continues and (_end ->> 'event')::integer <> _event) then
        raise exception using
            errcode = '22023', message = 'the commands do not fit the activation',
            detail = format('events %s to %s are applied', last_event + 1, _event),
            hint = 'each command names an event that this activation applies, continue_as_new the last one';
    end if;
    if _kinds <> '{}' then
        perform currant._record_commands(execution, commands, _at);
    end if;
    if _kinds && array['task', 'child'] then
        select e.root_id, e.queue into _root_id, _queue
        from currant.executions as e
        where e.id = _advance.execution;
        _started := currant._start_children(
            execution, _root_id, _queue, currant._to_start(commands, false, _end is not null), _now
        );
        _open_tasks := _open_tasks + _started[1];
        _open_children := _open_children + _started[2];
    end if;

    -- Its own time: the activation itself, and whatever passed while a task of it was open. Before its commands are
    -- carried out, so that none of them finds a workflow that has not begun, or is blocked, and ends it.
    update currant.workflows as w
    set
        last_event = _event,
        last_command = coalesce(_last_command, w.last_command),
        last_at = _at,
        last_token = _advance.token,
        version = greatest(w.version, coalesce((_advance.options ->> 'version')::integer, 1)),
        open_tasks = _open_tasks,
        open_children = _open_children,
        used = w.used + greatest(_now - coalesce(w.active_since, _at), interval '0'),
        active_since = case when _open_tasks > 0 then _now end,
        is_deadline_armed = w.is_deadline_armed or _open_tasks > 0,
        lost_activations = 0,
        refused_ends = 0,
        blocked_reason = null,
        blocked_since = null,
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
    if not _workflow.is_deadline_armed and _open_tasks > 0 and _end is null then
        insert into currant.delayed (execution_id, kind, due_at)
        values (_advance.execution, 'deadline', _now + greatest(_workflow.timeout - _workflow.used, interval '0'))
        on conflict on constraint delayed_pkey do nothing;
    end if;
    if _kinds && array['timer', 'cancel', 'child', 'attach', 'queue', 'signal', 'request_cancel'] then
        perform currant._carry_out(execution, commands, _end is not null, _at, _now);
    end if;

    if _continues then
        perform currant._continue_as_new(execution, _now);
    elsif _end is not null then
        if jsonb_typeof(options -> 'unread') = 'array' then
            perform currant._put_back(execution, options -> 'unread', _end ->> 'kind' = 'cancelled');
        end if;
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
    elsif exists (select from currant.inbox as i where i.workflow_id = _advance.execution) then
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
begin
    perform currant._enter_worker(worker);
    if execution is null or token is null or last_event is null or arrivals is null
        or jsonb_typeof(commands) is distinct from 'array' or jsonb_typeof(options) is distinct from 'object'
    then
        raise exception using
            errcode = '22023', message = 'an activation is not complete',
            detail = format('execution %s, token %s, last_event %s', execution, token, last_event),
            hint = 'none may be null; commands is an array, options an object';
    end if;
    perform currant._check_commands(commands);
    -- The signals that a run inherits have been measured one by one when they were sent.
    perform currant._check_size('options', pg_column_size((options - 'unread') #- '{started,signals}'));
    return currant._advance(worker, execution, token, last_event, arrivals, commands, options);
end
$$;

comment on function currant.advance(uuid, uuid, bigint, integer, bigint[], jsonb, jsonb) is
'Commits one activation of a workflow: the events taken from its inbox (arrivals, in the order applied; the first activation of a run has an event of its own, started, before them) and the commands they caused, if the workflow is still at last_event and the token''s lease holds; then what the commands mean is done (tasks, child workflows, timers, attachments, signals, cancels), and the workflow is parked, woken again, continued as new or ended, all in one transaction. Options: started (payload of that event), version (of the code that ran), waits_for (in words, for status), blocked (a reason: nothing is applied, and it is tried again later), unread (with an end: an array of the numbers of those events, signals, that nobody has taken; the ones that enqueue_and_signal sent go to the next workflow). Returns accepted; already (a repeated call); lost (the lease is gone); busy (send it again); refused (it would end, not continue as new, while a signal or a cancellation is unread, or an idempotency key that it asks for has been in somebody''s open transaction for some time: run it again); stale (it is not at last_event: run it again). Errors: KR001, KR002, KR005, KR008, 22023; then nothing has happened.';

revoke all on function currant.advance(uuid, uuid, bigint, integer, bigint[], jsonb, jsonb) from public;
grant execute on function currant.advance(uuid, uuid, bigint, integer, bigint[], jsonb, jsonb)
to currant_worker, currant_admin;

commit;

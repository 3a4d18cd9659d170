-- Deploy currant:apply_activations to pg
-- requires: record_history
-- requires: start_children
-- requires: carry_out
-- requires: continue_as_new
-- requires: cancels
-- requires: types

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

create or replace function currant._commands_of(activations currant._activation[])
returns currant._command[]
language plpgsql
immutable
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set jit = off
as $$
begin
    return array(
        select
            row(
                a.execution, a.at, c.event, c.n, c.kind, c.number, c.name, c.source, coalesce(c.payload, 'null')
            )::currant._command
        from unnest(activations) as a
        cross join lateral rows from (
            jsonb_to_recordset(a.commands)
            as (event integer, kind text, number integer, name text, source text, payload jsonb)
        ) with ordinality as c (event, kind, number, name, source, payload, n)
    );
end
$$;

comment on function currant._commands_of(currant._activation[]) is
'The commands of activations, in their order.';

revoke all on function currant._commands_of(currant._activation[]) from public;

create or replace function currant._children_of(activations currant._activation[], commands currant._command[])
returns currant._command[]
language plpgsql
immutable
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set jit = off
as $$
declare
    -- Where it takes more than a look at the kind.
    _mixed uuid[] := array(
        select a.execution
        from unnest(activations) as a
        where
            a.kinds && array['child']
            or (a.kinds && array['task'] and (a.kinds && array['cancel'] or a.final is not null))
    );
    _children currant._command[] := array(
        select c from unnest(_children_of.commands) as c where c.kind = 'task' and c.workflow_id <> all (_mixed)
    );
begin
    if _mixed <> '{}' then
        _children := _children || array(
            select c
            from unnest(activations) as a
            cross join lateral (
                select array_agg((x.value ->> 'number')::integer) as numbers
                from unnest(currant._to_start(a.commands, false, a.final is not null)) as x (value)
            ) as s
            cross join lateral unnest(_children_of.commands) as c
            where
                a.execution = any (_mixed) and c.workflow_id = a.execution
                and c.kind in ('task', 'child') and c.number = any (s.numbers)
        );
    end if;
    return _children;
end
$$;

comment on function currant._children_of(currant._activation[], currant._command[]) is
'Those of the commands of activations that ask for tasks and child workflows that are to be made now: without an idempotency key, see _to_start.';

revoke all on function currant._children_of(currant._activation[], currant._command[]) from public;

-- Tasks and children are counted before their workflows are brought up to date, and those before commands are carried
-- out, so that none of these finds a workflow that has not begun, or is blocked, and ends it. Its own time is the
-- activation itself, and whatever passed while a task of it was open.
create or replace function currant._apply_activations(
    worker uuid,
    activations currant._activation[],
    ended currant.leases[],
    tokens bigint[],
    queues text[],
    slots integer,
    now timestamptz
)
returns currant.leases[]
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set plan_cache_mode = force_generic_plan
set jit = off
as $$
declare
    _commands currant._command[] := currant._commands_of(activations);
    _children currant._command[];
    _arrived record;
    _ending uuid[];
    _parents uuid[] := array[]::uuid[];
    _tasks integer[];
    _workflows integer[];
    _leased currant.leases[] := array[]::currant.leases[];
    _one currant._activation;
begin
    if exists (
        select from unnest(activations) as a
        where
            a.earliest <= a.loaded or a.latest > a.last_event
            or (a.final ->> 'kind' = 'continue_as_new' and (a.final ->> 'event')::integer <> a.last_event)
    ) then
        raise exception using
            errcode = '22023', message = 'the commands do not fit the activation',
            detail = 'a command names an event that its activation does not apply',
            hint = 'each command names an event that this activation applies, continue_as_new the last one';
    end if;

    if exists (select from unnest(activations) as a where a.begins) then
        perform currant._record_beginnings(activations);
    end if;
    if exists (select from unnest(activations) as a where a.arrivals <> '{}') then
        select r.places, r.ended_tasks, r.ended_children into _arrived
        from currant._record_arrivals(activations) as r;
    else
        select null::integer[] as places, null::integer[] as ended_tasks, null::integer[] as ended_children
        into _arrived;
    end if;
    if tokens <> '{}' then
        perform currant._record_ends(activations, ended, tokens);
    end if;
    if _commands <> '{}' then
        perform currant._record_commands(_commands);
    end if;

    _children := currant._children_of(activations, _commands);
    if _children <> '{}' then
        select array_agg(c.workflow_id), array_agg(c.tasks), array_agg(c.workflows)
        into _parents, _tasks, _workflows
        from (
            select
                x.workflow_id,
                count(*) filter (where x.kind = 'task') as tasks,
                count(*) filter (where x.kind = 'child') as workflows
            from unnest(_children) as x
            group by x.workflow_id
        ) as c;
        _leased := currant._start_children(_children, worker, queues, slots, now);
    end if;

    update currant.workflows as w
    set
        last_event = a.last_event,
        last_command = coalesce(a.last_command, w.last_command),
        last_at = a.at,
        last_token = coalesce(a.token, w.last_token),
        version = greatest(w.version, coalesce((a.options ->> 'version')::integer, 1)),
        open_tasks = x.open_tasks,
        open_children = x.open_children,
        used = w.used + greatest(_apply_activations.now - coalesce(w.active_since, a.at), interval '0'),
        active_since = case when x.open_tasks > 0 then _apply_activations.now end,
        is_deadline_armed = w.is_deadline_armed or x.open_tasks > 0,
        lost_activations = 0,
        refused_ends = 0,
        blocked_reason = null,
        blocked_since = null,
        waits_for = left(a.options ->> 'waits_for', 500)
    from unnest(activations) as a
    cross join lateral (
        select v.open_tasks, v.open_children
        from currant.workflows as v
        where v.execution_id = a.execution
        limit 1
    ) as o
    cross join lateral (
        select
            array_position(_arrived.places, a.n) as arrived,
            array_position(_parents, a.execution) as started
    ) as p
    cross join lateral (
        select
            o.open_tasks - cardinality(a.ended) - coalesce(_arrived.ended_tasks[p.arrived], 0)
            + coalesce(_tasks[p.started], 0) as open_tasks,
            o.open_children - coalesce(_arrived.ended_children[p.arrived], 0)
            + coalesce(_workflows[p.started], 0) as open_children
    ) as x
    where w.execution_id = a.execution;

    if exists (select from unnest(activations) as a where a.is_blocked) then
        delete from currant.delayed as d
        where d.ctid = any (array(
            select c.ctid
            from unnest(activations) as a
            join currant.delayed as c on c.execution_id = a.execution
            where a.is_blocked and c.kind = 'blocked'
            for update of c skip locked
        ));
    end if;
    if exists (select from unnest(activations) as a where not a.is_armed and a.final is null) then
        insert into currant.delayed (execution_id, kind, due_at)
        select w.execution_id, 'deadline', _apply_activations.now + greatest(w.timeout - w.used, interval '0')
        from unnest(activations) as a
        join currant.workflows as w on w.execution_id = a.execution
        where not a.is_armed and a.final is null and w.is_deadline_armed
        on conflict on constraint delayed_pkey do nothing;
    end if;
    _ending := array(select a.execution from unnest(activations) as a where a.final is not null);
    if exists (select from unnest(activations) as a where a.kinds && array['timer']) then
        insert into currant.delayed (execution_id, kind, number, due_at)
        select
            c.workflow_id, 'timer', c.number,
            greatest(
                c.at + make_interval(secs => least((c.payload ->> 'seconds')::double precision, 3155760000)),
                _apply_activations.now
            )
        from unnest(_commands) as c
        where c.kind = 'timer' and c.workflow_id <> all (_ending);
    end if;
    for _one in
        select a.*
        from unnest(activations) as a
        where a.kinds && array['cancel', 'child', 'attach', 'queue', 'signal', 'request_cancel']
    loop
        perform currant._carry_out(_one.execution, _one.commands, _one.final is not null, now);
    end loop;

    if _ending <> '{}' then
        perform currant._put_back(a.execution, a.options -> 'unread', a.final ->> 'kind' = 'cancelled')
        from unnest(activations) as a
        where a.final is not null and jsonb_typeof(a.options -> 'unread') = 'array';
        perform currant._continue_as_new(a.execution, _apply_activations.now)
        from unnest(activations) as a
        where a.final ->> 'kind' = 'continue_as_new';
        perform currant._end_workflows(
            array(
                select
                    row(
                        a.execution,
                        case a.final ->> 'kind'
                            when 'complete' then 'completed' when 'fail' then 'failed' else 'cancelled'
                        end,
                        case when a.final ->> 'kind' = 'complete' then coalesce(a.final -> 'payload' -> 'result', 'null') end,
                        case
                            when a.final ->> 'kind' <> 'complete'
                                then coalesce(
                                    nullif(a.final -> 'payload' -> 'error', 'null'), currant._cancelled_error(null)
                                )
                        end,
                        a.token
                    )::currant._end
                from unnest(activations) as a
                where a.final ->> 'kind' <> 'continue_as_new'
            ),
            worker, now
        );
    end if;
    if cardinality(_ending) < cardinality(activations) then
        insert into currant.ready (execution_id, queue, rank, attempt, is_workflow)
        select w.execution_id, w.queue, w.rank, 0, true
        from unnest(activations) as a
        join currant.workflows as w on w.execution_id = a.execution
        where
            a.final is null
            and (select true from currant.inbox as i where i.workflow_id = a.execution limit 1);
    end if;
    return _leased;
end
$$;

comment on function currant._apply_activations(
    uuid, currant._activation[], currant.leases[], bigint[], text[], integer, timestamptz
) is
'Does what accepted activations say: their events and commands go into the histories, what the commands ask for is made, and the workflows, whose rows the caller has locked, are parked, woken again, continued as new or ended. ended: leases of tasks that have just been completed, with their tokens, that activations answer without an inbox. Up to slots new tasks in the given queues are leased to the worker at once; returns these leases. Errors: 22023, KR001, KR005.';

revoke all on function currant._apply_activations(
    uuid, currant._activation[], currant.leases[], bigint[], text[], integer, timestamptz
) from public;

commit;

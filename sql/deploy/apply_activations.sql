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

-- Tasks and children are counted before their workflows are brought up to date, and those before commands are carried
-- out, so that none of these finds a workflow that has not begun, or is blocked, and ends it. Its own time is the
-- activation itself, and whatever passed while a task of it was open.
create or replace function currant._apply_activations(
    worker uuid,
    activations currant._activation[],
    ended currant._ended,
    queues text[],
    slots integer,
    now timestamptz
)
returns json
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
    _has record;
    _ending uuid[];
    _arrived record;
    _started currant._started;
    _armed record;
    _woken uuid[];
    _one currant._activation;
begin
    select
        bool_or(
            a.earliest <= a.loaded or a.latest > a.last_event
            or (a.final ->> 'kind' = 'continue_as_new' and (a.final ->> 'event')::integer <> a.last_event)
        ) as misfits,
        bool_or(a.begins) as beginnings,
        bool_or(a.arrivals <> '{}') as arrivals,
        bool_or(a.is_blocked) as blocked,
        bool_or(a.token is not null) as leased,
        bool_or(a.kinds && array['timer']) as timers,
        bool_or(a.kinds && array['cancel', 'child', 'attach', 'queue', 'signal', 'request_cancel']) as others,
        coalesce(array_agg(a.execution) filter (where a.final is not null), '{}') as ending
    into _has
    from unnest(activations) as a;
    _ending := _has.ending;
    if _has.misfits then
        raise exception using
            errcode = '22023', message = 'the commands do not fit the activation',
            detail = 'a command names an event that its activation does not apply',
            hint = 'each command names an event that this activation applies, continue_as_new the last one';
    end if;

    if _has.beginnings then
        perform currant._record_beginnings(activations);
    end if;
    if _has.arrivals then
        select r.places, r.ended_tasks, r.ended_children into _arrived
        from currant._record_arrivals(activations) as r;
    else
        select null::integer[] as places, null::integer[] as ended_tasks, null::integer[] as ended_children
        into _arrived;
    end if;
    if ended.tokens <> '{}' then
        perform currant._record_ends(activations, ended);
    end if;
    if _commands <> '{}' then
        perform currant._record_commands(_commands);
    end if;

    _children := currant._to_start(_commands, _ending);
    if _children <> '{}' then
        _started := currant._start_children(_children, worker, queues, slots, now);
    end if;

    with moved as (
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
            select v.ctid as place, v.open_tasks, v.open_children
            from currant.workflows as v
            where v.execution_id = a.execution
            limit 1
        ) as o
        cross join lateral (
            select
                array_position(_arrived.places, a.n) as arrived,
                -- Compared with what it costs to create them, to count them anew for each workflow is nothing.
                coalesce(cardinality(array_positions(_started.of_tasks, a.execution)), 0) as tasks,
                coalesce(cardinality(array_positions(_started.of_children, a.execution)), 0) as children
        ) as p
        cross join lateral (
            select
                o.open_tasks - cardinality(a.ended) - coalesce(_arrived.ended_tasks[p.arrived], 0)
                + p.tasks as open_tasks,
                o.open_children - coalesce(_arrived.ended_children[p.arrived], 0)
                + p.children as open_children
        ) as x
        -- Where the row is stays the same while the caller has it locked.
        where w.ctid = o.place
        returning
            w.execution_id, w.timeout - w.used as time_left,
            w.is_deadline_armed and not a.is_armed and a.final is null as is_new
    )
    select array_agg(m.execution_id) as ids, array_agg(m.time_left) as times_left
    into _armed
    from moved as m
    where m.is_new;
    if _armed.ids is not null then
        insert into currant.delayed (execution_id, kind, due_at)
        select t.id, 'deadline', _apply_activations.now + greatest(t.time_left, interval '0')
        from unnest(_armed.ids, _armed.times_left) as t (id, time_left)
        on conflict on constraint delayed_pkey do nothing;
    end if;
    if _has.blocked then
        delete from currant.delayed as d
        where d.ctid = any (array(
            select c.ctid
            from unnest(activations) as a
            join currant.delayed as c on c.execution_id = a.execution
            where a.is_blocked and c.kind = 'blocked'
            for update of c skip locked
        ));
    end if;
    if _has.timers then
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
    if _has.others then
        for _one in
            select a.*
            from unnest(activations) as a
            where a.kinds && array['cancel', 'child', 'attach', 'queue', 'signal', 'request_cancel']
        loop
            perform currant._carry_out(_one.execution, _one.commands, _one.final is not null, now);
        end loop;
    end if;

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
    -- The wake row of what arrived during an activation may have been taken away in favour of its lease. There was no
    -- lease if the activation is ahead.
    if _has.leased then
        _woken := array(
            select a.execution
            from unnest(activations) as a
            where
                a.final is null and a.token is not null
                and (select true from currant.inbox as i where i.workflow_id = a.execution limit 1)
        );
        if _woken <> '{}' then
            insert into currant.ready (execution_id, queue, rank, attempt, is_workflow)
            select w.execution_id, w.queue, w.rank, 0, true
            from currant.workflows as w
            where w.execution_id = any (_woken);
        end if;
    end if;
    return coalesce(_started.leases, '[]');
end
$$;

comment on function currant._apply_activations(
    uuid, currant._activation[], currant._ended, text[], integer, timestamptz
) is
'Does what accepted activations say: their events and commands go into the histories, what the commands ask for is made, and the workflows, whose rows the caller has locked, are parked, woken again, continued as new or ended. ended: tasks that have just been completed, which activations answer without an inbox. Up to slots new tasks in the given queues are leased to the worker at once; returns these as step_many does. Errors: 22023, KR001, KR005.';

revoke all on function currant._apply_activations(
    uuid, currant._activation[], currant._ended, text[], integer, timestamptz
) from public;

commit;

-- Deploy currant:move_due to pg
-- requires: end_workflow
-- requires: ready
-- requires: inbox
-- requires: attach
-- requires: force_cancel

begin;

-- The expired deadline of a workflow is only a reason to look: its own time may have stood still meanwhile.
create or replace function currant._check_deadline(
    execution_id uuid,
    at timestamptz,
    steady_since timestamptz
)
returns void
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    _left interval;
    _is_active boolean;
    _timeout interval;
    _is_steady boolean;
begin
    select
        w.timeout - w.used - coalesce(_check_deadline.at - w.active_since, interval '0'),
        w.active_since is not null,
        w.timeout,
        -- After a gap in the ticks its workers first get the chance to bring home what they have done.
        _check_deadline.steady_since < _check_deadline.at - interval '30 seconds'
        or w.active_since >= _check_deadline.steady_since
    into _left, _is_active, _timeout, _is_steady
    from currant.workflows as w
    where w.execution_id = _check_deadline.execution_id
    for update skip locked;
    if not found then
        if not exists (
            select from currant.workflows as w where w.execution_id = _check_deadline.execution_id
        ) then
            return;
        end if;
        _left := interval '1 second';
        _is_active := true;
    elsif exists (select from currant.leases as l where l.execution_id = _check_deadline.execution_id) then
        _left := greatest(_left, interval '100 milliseconds');
        _is_active := true;
    end if;

    if _left <= interval '0' and _is_active and not _is_steady then
        _left := interval '1 second';
    end if;
    if _left <= interval '0' then
        perform currant._end_workflow(
            execution_id, 'failed',
            jsonb_build_object('type', 'Timeout', 'message', format('the workflow ran out of its time, %s', _timeout), 'enforced', true),
            at
        );
    elsif _is_active then
        insert into currant.delayed (execution_id, kind, due_at)
        values (_check_deadline.execution_id, 'deadline', _check_deadline.at + _left)
        on conflict on constraint delayed_pkey do nothing;
    else
        update currant.workflows as w
        set is_deadline_armed = false
        where w.execution_id = _check_deadline.execution_id;
    end if;
end
$$;

comment on function currant._check_deadline(uuid, timestamptz, timestamptz) is
'Ends a workflow whose own time is used up, unless ticks have just begun again; else sees to it that it is looked at again.';

revoke all on function currant._check_deadline(uuid, timestamptz, timestamptz) from public;

create or replace function currant._move_due(
    since timestamptz,
    at timestamptz,
    batch integer,
    steady_since timestamptz
)
returns integer
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
as $$
declare
    _ids uuid[];
    _kinds text[];
    _numbers integer[];
    _attempts integer[];
    _reasons text[];
begin
    with due as (
        delete from currant.delayed as d
        where d.ctid = any (array(
            select c.ctid
            from currant.delayed as c
            where c.due_at >= _move_due.since and c.due_at <= _move_due.at
            order by c.due_at
            limit batch
            for update skip locked
        ))
        returning d.execution_id, d.kind, d.number, d.attempt, d.due_at, d.reason
    )
    select
        array_agg(d.execution_id order by d.due_at, d.number), array_agg(d.kind order by d.due_at, d.number),
        array_agg(d.number order by d.due_at, d.number), array_agg(d.attempt order by d.due_at, d.number),
        array_agg(d.reason order by d.due_at, d.number)
    into _ids, _kinds, _numbers, _attempts, _reasons
    from due as d;
    if _ids is null then
        return 0;
    end if;

    insert into currant.ready (execution_id, queue, rank, attempt, is_workflow)
    select
        e.id, e.queue,
        -2 * e.priority + case when e.parent_id is null and coalesce(w.last_event, 0) = 0 then 1 else 0 end,
        d.attempt, e.kind = 'workflow'
    from unnest(_ids, _kinds, _attempts) with ordinality as d (id, kind, attempt, n)
    join currant.executions as e on e.id = d.id
    left join lateral (
        select x.last_event from currant.workflows as x where x.execution_id = d.id limit 1
    ) as w on e.kind = 'workflow'
    where d.kind in ('start', 'retry', 'release', 'blocked', 'wake')
    order by d.n;

    with fired as (
        select w.execution_id, w.queue, w.rank, d.number, d.n
        from unnest(_ids, _kinds, _numbers) with ordinality as d (id, kind, number, n)
        cross join lateral (
            select x.execution_id, x.queue, x.rank from currant.workflows as x where x.execution_id = d.id limit 1
        ) as w
        where d.kind = 'timer'
    ),
    told as (
        insert into currant.inbox (workflow_id, kind, number, arrived_at)
        select f.execution_id, 'timer_fired', f.number, _move_due.at
        from fired as f
        order by f.n
    )
    insert into currant.ready (execution_id, queue, rank, attempt, is_workflow)
    select distinct f.execution_id, f.queue, f.rank, 0, true
    from fired as f;

    perform currant._check_deadline(d.id, _move_due.at, _move_due.steady_since)
    from unnest(_ids, _kinds) as d (id, kind)
    where d.kind = 'deadline';

    perform currant._check_attachment(d.id, d.number, d.attempt, d.reason, _move_due.at)
    from unnest(_ids, _kinds, _numbers, _attempts, _reasons) as d (id, kind, number, attempt, reason)
    where d.kind = 'attach';

    perform currant._force_cancel(d.id, d.reason, d.attempt, _move_due.at)
    from unnest(_ids, _kinds, _attempts, _reasons) as d (id, kind, attempt, reason)
    where d.kind = 'force';

    return cardinality(_ids);
end
$$;

comment on function currant._move_due(timestamptz, timestamptz, integer, timestamptz) is
'Moves what has become due out of delayed, up to batch rows.';

revoke all on function currant._move_due(timestamptz, timestamptz, integer, timestamptz) from public;

commit;

-- Deploy currant:tick to pg
-- requires: ticker
-- requires: workers
-- requires: release_many
-- requires: end_workflow
-- requires: types
-- requires: enter_worker
-- requires: watchers

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
            execution_id, 'failed', null,
            jsonb_build_object('type', 'Timeout', 'message', format('the workflow ran out of its time, %s', _timeout), 'enforced', true),
            null, null, at
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
set jit = off
as $$
declare
    _ids uuid[];
    _kinds text[];
    _numbers integer[];
    _attempts integer[];
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
        returning d.execution_id, d.kind, d.number, d.attempt, d.due_at
    )
    select
        array_agg(d.execution_id order by d.due_at, d.number), array_agg(d.kind order by d.due_at, d.number),
        array_agg(d.number order by d.due_at, d.number), array_agg(d.attempt order by d.due_at, d.number)
    into _ids, _kinds, _numbers, _attempts
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
    left join currant.workflows as w on e.kind = 'workflow' and w.execution_id = e.id
    where d.kind in ('start', 'retry', 'release', 'blocked', 'wake')
    order by d.n;

    with fired as (
        select w.execution_id, w.queue, w.rank, d.number, d.n
        from unnest(_ids, _kinds, _numbers) with ordinality as d (id, kind, number, n)
        join currant.workflows as w on w.execution_id = d.id
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

    return cardinality(_ids);
end
$$;

comment on function currant._move_due(timestamptz, timestamptz, integer, timestamptz) is
'Moves what has become due out of delayed, up to batch rows.';

revoke all on function currant._move_due(timestamptz, timestamptz, integer, timestamptz) from public;

-- Lock order: a workflow's row before its lease. A row that somebody else holds is left for the next round.
create or replace function currant._lose_lease(lost currant.leases, error jsonb, at timestamptz)
returns boolean
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    _lost_activations integer;
    _max integer;
begin
    if lost.is_workflow then
        select w.lost_activations + 1 into _lost_activations
        from currant.workflows as w
        where w.execution_id = lost.execution_id
        for update skip locked;
        if not found and exists (select from currant.workflows as w where w.execution_id = lost.execution_id) then
            return false;
        end if;
    end if;

    delete from currant.leases as l
    where l.ctid = any (array(
        select c.ctid from currant.leases as c
        where c.execution_id = lost.execution_id and c.token = lost.token
        for update skip locked
    ));
    if not found then
        return false;
    end if;

    if not lost.is_workflow then
        perform currant._attempt_failed(
            lost.execution_id, lost.token, lost.attempt, lost.worker_id, lost.claimed_at, error, null, at
        );
    elsif _lost_activations is not null then
        select c.max_lost_activations into _max from currant.configuration as c;
        update currant.workflows as w
        set lost_activations = _lost_activations
        where w.execution_id = lost.execution_id;
        insert into currant.attempts (execution_id, token, attempt, worker_id, started_at, ended_at, error)
        values (
            (lost).execution_id, (lost).token, _lost_activations, (lost).worker_id, (lost).claimed_at, at, error
        );
        if _lost_activations >= _max then
            perform currant._block_workflow(
                lost.execution_id,
                format('%s activations in a row were lost: %s', _lost_activations, error ->> 'message'), at
            );
        else
            perform currant._make_ready(lost.execution_id, 1);
        end if;
    end if;
    return true;
end
$$;

comment on function currant._lose_lease(currant.leases, jsonb, timestamptz) is
'Takes a lease from a worker that is dead or over its time; false if somebody else has it locked or ended it.';

revoke all on function currant._lose_lease(currant.leases, jsonb, timestamptz) from public;

create or replace function currant._enforce_deadlines(
    since timestamptz,
    at timestamptz,
    steady_since timestamptz,
    batch integer
)
returns integer
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set jit = off
as $$
declare
    _lease currant.leases;
    _done integer := 0;
begin
    -- The worker itself ends an attempt at its deadline; the grace is for its answer to arrive.
    for _lease in
        select
            l.execution_id, l.token, l.worker_id, l.attempt, l.is_workflow, l.parent_id, l.command_number,
            l.claimed_at, l.deadline_at
        from currant.workers as w
        cross join lateral (
            select
                x.execution_id, x.token, x.worker_id, x.attempt, x.is_workflow, x.parent_id, x.command_number,
                x.claimed_at, x.deadline_at
            from currant.leases as x
            where
                x.worker_id = w.id
                and x.deadline_at >= _enforce_deadlines.since
                and x.deadline_at < _enforce_deadlines.at - interval '5 seconds'
                and (
                    _enforce_deadlines.steady_since < _enforce_deadlines.at - interval '30 seconds'
                    or x.claimed_at >= _enforce_deadlines.steady_since
                )
            order by x.deadline_at
            limit batch
        ) as l
        order by l.deadline_at
        limit batch
    loop
        if currant._lose_lease(
            _lease,
            jsonb_build_object(
                'type', 'Timeout',
                'message', format('no end after %s, the lease was taken away', at - _lease.claimed_at),
                'enforced', true
            ),
            at
        ) then
            _done := _done + 1;
        end if;
    end loop;
    return _done;
end
$$;

comment on function currant._enforce_deadlines(timestamptz, timestamptz, timestamptz, integer) is
'Ends attempts that their workers have not ended in time, from a deadline at since on. After a gap in the ticks those that were running during it are left alone for a while.';

revoke all on function currant._enforce_deadlines(timestamptz, timestamptz, timestamptz, integer) from public;

-- "for update" conflicts with the share lock of a claim in flight: such a worker is alive and skipped. Leases of the
-- dead are looked for in every round, not only when a worker is declared dead, since a round is bounded.
create or replace function currant._reap(at timestamptz, steady_since timestamptz, batch integer)
returns integer
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set jit = off
as $$
declare
    _worker record;
    _lease currant.leases;
    _done integer := 0;
begin
    for _worker in
        select w.id, w.died_at, w.host, w.pid, w.heartbeat_at
        from currant.workers as w
        where
            w.died_at is not null
            or (
                w.heartbeat_at < _reap.at - w.heartbeat_timeout
                and _reap.steady_since < _reap.at - w.heartbeat_timeout
            )
        order by w.id
        for update skip locked
    loop
        if _worker.died_at is null then
            update currant.workers as w
            set died_at = _reap.at, waiting_until = null
            where w.id = _worker.id;
        end if;
        for _lease in
            select
                l.execution_id, l.token, l.worker_id, l.attempt, l.is_workflow, l.parent_id, l.command_number,
                l.claimed_at, l.deadline_at
            from currant.leases as l
            where l.worker_id = _worker.id
            order by l.deadline_at
            limit batch - _done
        loop
            if currant._lose_lease(
                _lease,
                jsonb_build_object(
                    'type', 'WorkerLost',
                    'message', format(
                        'worker %s (%s, process %s) sent no heartbeat since %s',
                        _worker.id, _worker.host, coalesce(_worker.pid::text, 'unknown'),
                        to_char(_worker.heartbeat_at at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')
                    ),
                    'enforced', true
                ),
                at
            ) then
                _done := _done + 1;
            end if;
        end loop;
        if _worker.died_at < at - interval '1 hour'
            and not exists (select from currant.leases as l where l.worker_id = _worker.id)
        then
            delete from currant.workers as w where w.id = _worker.id;
        end if;
        exit when _done >= batch;
    end loop;
    return _done;
end
$$;

comment on function currant._reap(timestamptz, timestamptz, integer) is
'Declares workers dead whose heartbeat is over its timeout, and gives their work to others, up to batch leases.';

revoke all on function currant._reap(timestamptz, timestamptz, integer) from public;

create or replace function currant.tick(duty text default null)
returns currant.tick_result
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
set jit = off
as $$
declare
    _batch constant integer := 500;
    _now timestamptz;
    _is_mine boolean;
    _ticker record;
    _shortest interval;
    _is_full boolean;
    _moved integer := 0;
    _recovered integer := 0;
begin
    perform currant._require_read_committed();
    if duty not in ('due', 'recover') then
        raise exception using
            errcode = '22023', message = format('unknown duty %s', duty), detail = 'duty',
            hint = 'give due, recover, or null for both';
    end if;
    _is_mine := pg_try_advisory_xact_lock(hashtextextended('currant.tick', 0));
    _now := currant._now();
    -- A clock that went back (a failover) must not make everything wait until it is where it was.
    select
        case when t.ticked_at > _now then '-infinity' else t.ticked_at end as ticked_at,
        case when t.steady_since > _now then 'infinity' else t.steady_since end as steady_since,
        case when t.swept_at > _now then '-infinity' else t.swept_at end as swept_at,
        case when t.enforced_at > _now then '-infinity' else t.enforced_at end as enforced_at,
        t.sweep_took,
        case when t.swept_to > _now then '-infinity' else t.swept_to end as swept_to
    into _ticker
    from currant.ticker as t;

    if _is_mine then
        select min(w.heartbeat_timeout) into _shortest
        from currant.workers as w
        where w.died_at is null;
        -- A floor, because ticks come about once a second: a worker with a shorter timeout than twice this may be
        -- declared dead after an outage that short.
        if _ticker.ticked_at < _now - greatest(coalesce(_shortest, interval '30 seconds') / 2, interval '2 seconds')
        then
            _ticker.steady_since := _now;
        end if;

        if duty is distinct from 'recover' then
            _is_full := _ticker.swept_at < _now - greatest(interval '2 seconds', 50 * _ticker.sweep_took);
            _moved := currant._move_due(
                case when _is_full then '-infinity' else _ticker.swept_to end, _now, _batch, _ticker.steady_since
            );
            if _is_full then
                _ticker.sweep_took := currant._now() - _now;
                _ticker.swept_at := _now;
                if _moved < _batch then
                    -- What commits late with an earlier due time is found by the next full sweep.
                    _ticker.swept_to := _now - interval '1 second';
                end if;
            end if;
        end if;
        if duty is distinct from 'due' then
            delete from currant.watchers as w
            where w.ctid = any (array(
                select x.ctid from currant.watchers as x where x.watching_until < _now limit 5000 for update skip locked
            ));
            -- What is found late, because its claim committed late or its row was locked, is found by a full round.
            _is_full := _ticker.enforced_at < _now - interval '1 minute';
            _recovered := currant._enforce_deadlines(
                case when _is_full then '-infinity' else _now - interval '2 minutes' end,
                _now, _ticker.steady_since, _batch
            );
            if _is_full and _recovered < _batch then
                _ticker.enforced_at := _now;
            end if;
            _recovered := _recovered + currant._reap(_now, _ticker.steady_since, _batch);
        end if;
        update currant.ticker as t
        set
            ticked_at = _now, steady_since = _ticker.steady_since, swept_at = _ticker.swept_at,
            sweep_took = _ticker.sweep_took, swept_to = _ticker.swept_to, enforced_at = _ticker.enforced_at;
    end if;

    return row(
        _moved + _recovered,
        _moved >= _batch or _recovered >= _batch,
        (
            select greatest(min(d.due_at) - currant._now(), interval '0')
            from currant.delayed as d
            where d.due_at > _now and d.due_at >= _ticker.swept_to
            having min(d.due_at) is not null
        )
    )::currant.tick_result;
end
$$;

comment on function currant.tick(text) is
'One bounded round of maintenance, one caller at a time (another finds nothing to do). duty due: what has become due is made ready or fires; duty recover: dead workers'' and overdue work is given to others; null: both, in one transaction. Any worker calls both continuously. Returns how much was done, whether more is waiting, and how long until the next thing is due (null: nothing). After a gap without ticks no worker is declared dead for one heartbeat timeout of its, and no deadline of what ran during the gap is enforced for half a minute. Errors: 22023, KR008.';

revoke all on function currant.tick(text) from public;
grant execute on function currant.tick(text) to currant_worker, currant_admin;

commit;

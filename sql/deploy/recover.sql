-- Deploy currant:recover to pg
-- requires: release_many
-- requires: workers
-- requires: types

begin;

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
            delete from currant.worker_functions as f where f.worker_id = _worker.id;
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

commit;

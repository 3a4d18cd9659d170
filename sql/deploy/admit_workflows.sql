-- Deploy currant:admit_workflows to pg
-- requires: types
-- requires: leases
-- requires: inbox
-- requires: end_workflow

begin;

-- What has cost its last worker its life is run apart, or it would take others along time after time, and all of them
-- would end up blocked. What it keeps from being claimed goes back to its place in the queue; a claim that has begun
-- with others leaves the suspects for later.
create or replace function currant._keep_apart(taken currant._taken, admissible uuid[], is_first boolean)
returns uuid[]
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    _now timestamptz := currant._now();
    _admitted uuid[];
    _first uuid;
    _is_suspect boolean;
begin
    select t.id, w.lost_activations > 0 into _first, _is_suspect
    from unnest(taken.ids) with ordinality as t (id, n)
    cross join lateral (
        select x.lost_activations from currant.workflows as x where x.execution_id = t.id limit 1
    ) as w
    where t.id = any (admissible)
    order by t.n
    limit 1;
    if _is_suspect and is_first then
        insert into currant.ready (seq, execution_id, queue, rank, attempt, is_workflow)
        overriding system value
        select min(t.seq), t.id, w.queue, min(t.rank), max(t.attempt), true
        from unnest(taken.ids, taken.attempts, taken.ranks, taken.seqs) as t (id, attempt, rank, seq)
        cross join lateral (
            select x.queue from currant.workflows as x where x.execution_id = t.id limit 1
        ) as w
        where t.id = any (admissible) and t.id <> _first
        group by t.id, w.queue;
        return array[_first];
    end if;

    select coalesce(array_agg(w.execution_id), '{}') into _admitted
    from currant.workflows as w
    where w.execution_id = any (admissible) and w.lost_activations = 0;
    insert into currant.delayed (execution_id, kind, number, due_at, attempt)
    select t.id, 'wake', min(t.seq) % 2147483647, _now + interval '50 milliseconds', max(t.attempt)
    from unnest(taken.ids, taken.attempts, taken.seqs) as t (id, attempt, seq)
    where t.id = any (admissible) and t.id <> all (_admitted)
    group by t.id;
    return _admitted;
end
$$;

comment on function currant._keep_apart(currant._taken, uuid[], boolean) is
'Of the workflows that a claim may lease, some of which have lost their last activation with its worker: if one of those comes first, it alone, else the others.';

revoke all on function currant._keep_apart(currant._taken, uuid[], boolean) from public;

-- The workflow's row lock decides between claims of the same workflow; it is tried, never waited for. Once it is
-- held, a fresh statement sees every lease and event committed before. What becomes of the wake row that was taken:
-- row locked by another: comes back in a moment; workflow ended: gone, with what arrived too late, signals apart, some
-- of which start it anew; leased: gone, because the holder's advance looks into the inbox after us; nothing to do: gone.
create or replace function currant._admit_workflows(taken currant._taken, admitted uuid[])
returns uuid[]
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set plan_cache_mode = force_generic_plan
set jit = off
as $$
declare
    _now timestamptz := currant._now();
    _cancelled record;
    _locked uuid[];
    _admitted uuid[];
    _has_suspects boolean;
    _late uuid[];
begin
    select coalesce(array_agg(l.execution_id), '{}') into _locked
    from (
        select w.execution_id
        from currant.workflows as w
        where w.execution_id = any (taken.ids)
        order by w.execution_id
        for update skip locked
    ) as l;

    select coalesce(array_agg(distinct i.id), '{}') into _late
    from unnest(taken.ids) as i (id)
    where i.id <> all (_locked);
    if _late <> '{}' then
        insert into currant.delayed (execution_id, kind, number, due_at, attempt)
        -- The number is one that nobody else can be inserting: that would have to be waited for.
        select t.id, 'wake', min(t.seq) % 2147483647, _now + interval '50 milliseconds', t.attempt
        from unnest(taken.ids, taken.attempts, taken.seqs) as t (id, attempt, seq)
        where
            t.id = any (_late)
            and (select true from currant.workflows as w where w.execution_id = t.id limit 1)
        group by t.id, t.attempt;
        delete from currant.inbox as i
        where i.ctid = any (array(
            select x.ctid
            from currant.inbox as x
            where
                x.workflow_id = any (_late)
                and x.kind <> 'signal_received'
                and not exists (select from currant.workflows as w where w.execution_id = x.workflow_id)
            for update skip locked
        ));
        perform currant._restart_signals(_late, _now);
    end if;

    for _cancelled in
        select w.execution_id, c.reason
        from currant.workflows as w
        cross join lateral (
            select x.reason from currant.cancels as x where x.execution_id = w.execution_id limit 1
        ) as c
        where
            w.execution_id = any (_locked)
            and w.execution_id <> all (admitted)
            and (
                w.last_event = 0
                or (
                    w.blocked_reason is not null
                    and exists (
                        select from currant.inbox as i
                        where i.workflow_id = w.execution_id and i.kind = 'cancel_requested'
                    )
                )
            )
            and (select true from currant.leases as l where l.execution_id = w.execution_id limit 1) is null
    loop
        perform currant._end_workflow(
            _cancelled.execution_id, 'cancelled', currant._cancelled_error(_cancelled.reason), _now
        );
    end loop;
    if found then
        -- The last wake rows of what has ended, for signals that are to go to others, are not among those to be deleted.
        select coalesce(array_agg(w.execution_id), '{}') into _locked
        from currant.workflows as w
        where w.execution_id = any (_locked);
    end if;

    -- Before the inboxes are looked into: what a wake row deleted here stands for is then seen there.
    delete from currant.ready as r
    where r.ctid = any (array(
        select c.ctid
        from currant.ready as c
        where c.execution_id = any (_locked) and c.attempt = 0
        for update skip locked
    ));

    -- Each of these a probe of an index: planned as joins they would read all that is dead.
    select coalesce(array_agg(t.id), '{}'), bool_or(w.lost_activations > 0) into _admitted, _has_suspects
    from (
        select t.id, max(t.attempt) as attempt
        from unnest(taken.ids, taken.attempts) as t (id, attempt)
        where t.id = any (_locked) and t.id <> all (admitted)
        group by t.id
    ) as t
    cross join lateral (
        select x.lost_activations, x.last_event, x.blocked_reason
        from currant.workflows as x
        where x.execution_id = t.id
        limit 1
    ) as w
    where
        (select true from currant.leases as l where l.execution_id = t.id limit 1) is null
        and (
            t.attempt = 1
            or (
                w.last_event > 0
                and w.blocked_reason is null
                and (select true from currant.inbox as i where i.workflow_id = t.id limit 1)
            )
        );
    if _has_suspects then
        _admitted := currant._keep_apart(taken, _admitted, admitted = '{}');
    end if;

    delete from currant.ready as r
    where r.ctid = any (array(
        select c.ctid
        from currant.ready as c
        where c.execution_id = any (_admitted) and c.attempt = 1
        for update skip locked
    ));
    return _admitted;
end
$$;

comment on function currant._admit_workflows(currant._taken, uuid[]) is
'Of the workflows whose wake rows a claim took, those that it may lease: locked, unleased, with something to do. Removes their other wake rows, and ends those that were cancelled before they began or while they are blocked. Those admitted before by the same claim are left out.';

revoke all on function currant._admit_workflows(currant._taken, uuid[]) from public;

commit;

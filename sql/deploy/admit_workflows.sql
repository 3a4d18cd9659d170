-- Deploy currant:admit_workflows to pg
-- requires: types
-- requires: leases
-- requires: inbox
-- requires: end_workflow

begin;

-- The workflow's row lock decides between claims of the same workflow; it is tried, never waited for. Once it is
-- held, a fresh statement sees every lease and event committed before. What becomes of the wake row that was taken:
-- row locked by another: comes back in a moment; workflow ended: gone, with what arrived too late, signals apart;
-- leased: gone, because the
-- holder's advance looks into the inbox after us; nothing to do: gone.
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
        join currant.workflows as w on w.execution_id = t.id
        where t.id = any (_late)
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
            and not exists (select from currant.leases as l where l.execution_id = w.execution_id)
    loop
        perform currant._end_workflow(
            _cancelled.execution_id, 'cancelled', null, currant._cancelled_error(_cancelled.reason),
            null, null, _now
        );
    end loop;

    -- Before the inboxes are looked into: what a wake row deleted here stands for is then seen there.
    delete from currant.ready as r
    where r.ctid = any (array(
        select c.ctid
        from currant.ready as c
        where c.execution_id = any (_locked) and c.attempt = 0
        for update skip locked
    ));

    select coalesce(array_agg(w.execution_id), '{}') into _admitted
    from (
        select t.id, max(t.attempt) as attempt
        from unnest(taken.ids, taken.attempts) as t (id, attempt)
        where t.id = any (_locked) and t.id <> all (admitted)
        group by t.id
    ) as t
    join currant.workflows as w on w.execution_id = t.id
    where
        not exists (select from currant.leases as l where l.execution_id = t.id)
        and (
            t.attempt = 1
            or (
                w.last_event > 0
                and w.blocked_reason is null
                and exists (select from currant.inbox as i where i.workflow_id = t.id)
            )
        );

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

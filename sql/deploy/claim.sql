-- Deploy currant:claim to pg
-- requires: ready
-- requires: leases
-- requires: workflows
-- requires: inbox
-- requires: outcomes
-- requires: attempts
-- requires: types
-- requires: enter_worker
-- requires: end_workflow

begin;

-- Rows of ready are never updated, so a ctid found under "for update skip locked" still names the same row when it
-- is deleted. The locking sub-select runs once, inside array(). Marks split the index range of the queue into
-- segments: from the start to the first mark, from each mark to the next; what lies below a mark within its rank is
-- skipped, which is where the dead entries are that vacuum has not removed.
create or replace function currant._take(queue text, is_workflow boolean, wanted integer, marks jsonb)
returns currant._taken
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
set plan_cache_mode = force_generic_plan
set jit = off
as $$
declare
    -- Marks that are none are ignored.
    _segments integer := case
        when jsonb_typeof(marks) = 'array'
            and not marks @? 'strict $[*] ? (@.type() != "array" || @.size() != 2)'
            and not marks @? 'strict $[*][*] ? (@.type() != "number")'
            then jsonb_array_length(marks)
        else 0
    end;
    _taken currant._taken;
    _all currant._taken := row('{}', '{}', '{}', '{}')::currant._taken;
    _rank integer := -2147483648;
    _seq bigint := 0;
    _last_rank integer;
begin
    for _i in 0 .. _segments
    loop
        _last_rank := case when _i < _segments then (marks -> _i ->> 0)::integer - 1 else 2147483647 end;
        with gone as (
            delete from currant.ready as r
            where r.ctid = any (array(
                select c.ctid
                from currant.ready as c
                where
                    c.queue = _take.queue
                    and c.is_workflow = _take.is_workflow
                    and (c.rank, c.seq) >= (_rank, _seq)
                    and c.rank <= _last_rank
                order by c.rank, c.seq
                limit wanted - cardinality(_all.ids)
                for update skip locked
            ))
            returning r.execution_id, r.attempt, r.rank, r.seq
        )
        select
            array_agg(g.execution_id order by g.rank, g.seq),
            array_agg(g.attempt order by g.rank, g.seq),
            array_agg(g.rank order by g.rank, g.seq),
            array_agg(g.seq order by g.rank, g.seq)
        into _taken
        from gone as g;
        if _taken.ids is not null then
            _all := row(
                _all.ids || _taken.ids, _all.attempts || _taken.attempts,
                _all.ranks || _taken.ranks, _all.seqs || _taken.seqs
            )::currant._taken;
        end if;
        exit when cardinality(_all.ids) >= wanted or _i = _segments;
        _rank := (marks -> _i ->> 0)::integer;
        _seq := (marks -> _i ->> 1)::bigint;
    end loop;
    return _all;
end
$$;

comment on function currant._take(text, boolean, integer, jsonb) is
'Deletes and returns up to wanted rows of ready of one queue, best first, skipping what others hold. marks: [[rank, seq], …] in order of rank, where to start within a rank; only a hint.';

revoke all on function currant._take(text, boolean, integer, jsonb) from public;

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

create or replace function currant._inbox_of(workflow_id uuid)
returns jsonb
language sql
stable
set search_path = pg_catalog, pg_temp
begin atomic
    select coalesce(
        jsonb_agg(
            jsonb_build_object(
                'arrival', i.arrival,
                'kind', i.kind,
                'number', i.number,
                'name', i.name,
                'payload', i.content,
                'execution_id', i.child_id
            )
            order by i.n
        ),
        '[]'
    )
    from (
        select
            b.arrival, b.kind, b.number, b.name, b.child_id, b.content,
            row_number() over (order by b.kind <> 'signal_received', b.arrival) as n,
            sum(octet_length(b.content::text)) over (order by b.kind <> 'signal_received', b.arrival) as bytes
        from (
            select
                x.arrival, x.kind, x.number, x.name, x.child_id,
                case when x.kind = 'task_completed' then o.result else x.payload end as content
            from currant.inbox as x
            left join currant.outcomes as o on x.kind = 'task_completed' and o.execution_id = x.child_id
            where x.workflow_id = _inbox_of.workflow_id
            order by x.kind <> 'signal_received', x.arrival
            limit 1000
        ) as b
    ) as i
    where i.n = 1 or coalesce(i.bytes, 0) <= 16777216;
end;

comment on function currant._inbox_of(uuid) is
'What has arrived for a workflow and is not applied yet, in the order to apply it: signals first, then by arrival. At most 1000 events and 16 MiB of payloads; advance wakes the workflow again for the rest.';

revoke all on function currant._inbox_of(uuid) from public;

create or replace function currant._claimed(
    worker uuid,
    ids uuid[],
    tokens bigint[],
    ranks integer[],
    seqs bigint[]
)
returns setof currant.claimed
language sql
stable
set search_path = pg_catalog, pg_temp
begin atomic
    select
        e.id,
        l.token,
        e.kind,
        e.function,
        coalesce(w.version, e.version),
        e.queue,
        c.rank,
        c.seq,
        l.attempt,
        e.max_attempts,
        e.args,
        e.headers,
        e.parent_id,
        e.root_id,
        e.created_at,
        l.claimed_at,
        e.timeout,
        (select p.details from currant.progress as p where p.execution_id = e.id),
        w.last_event,
        w.last_command,
        case when l.is_workflow then currant._inbox_of(e.id) end
    from unnest(_claimed.ids, _claimed.tokens, _claimed.ranks, _claimed.seqs)
        with ordinality as c (id, token, rank, seq, n)
    join currant.leases as l on l.execution_id = c.id and l.token = c.token and l.worker_id = _claimed.worker
    join currant.executions as e on e.id = c.id
    left join currant.workflows as w on l.is_workflow and w.execution_id = c.id
    order by c.n;
end;

comment on function currant._claimed(uuid, uuid[], bigint[], integer[], bigint[]) is
'The given leases of a worker as rows of the protocol, in the given order.';

revoke all on function currant._claimed(uuid, uuid[], bigint[], integer[], bigint[]) from public;

create or replace function currant.claim(
    worker uuid,
    queues text[],
    tasks integer,
    workflows integer default 0,
    hints jsonb default null
)
returns setof currant.claimed
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set plan_cache_mode = force_generic_plan
set jit = off
as $$
declare
    _now timestamptz := currant._now();
    _waiting_until timestamptz := currant._enter_worker(worker);
    _queue text;
    _taken currant._taken;
    _ids uuid[] := array[]::uuid[];
    _attempts integer[] := array[]::integer[];
    _ranks integer[] := array[]::integer[];
    _seqs bigint[] := array[]::bigint[];
    _workflow_ids uuid[] := array[]::uuid[];
    _workflow_ranks integer[] := array[]::integer[];
    _workflow_seqs bigint[] := array[]::bigint[];
    _tokens bigint[];
    _wanted integer;
    _wait double precision := case when jsonb_typeof(hints -> 'wait') = 'number' then (hints ->> 'wait')::double precision end;
begin
    if queues is null or tasks is null or workflows is null or tasks < 0 or workflows < 0 then
        raise exception using
            errcode = '22023', message = 'queues, tasks and workflows are needed',
            detail = format('queues %s, tasks %s, workflows %s', queues, tasks, workflows),
            hint = 'tasks and workflows are the numbers of free slots, from 0';
    end if;

    foreach _queue in array queues
    loop
        exit when cardinality(_ids) >= tasks;
        _taken := currant._take(_queue, false, tasks - cardinality(_ids), hints -> 'marks' -> _queue -> 't');
        _ids := _ids || _taken.ids;
        _attempts := _attempts || _taken.attempts;
        _ranks := _ranks || _taken.ranks;
        _seqs := _seqs || _taken.seqs;
    end loop;

    if exists (select from currant.cancels as c where c.execution_id = any (_ids)) then
        perform currant._end_unsuccessfully(
            t.id, 'cancelled', currant._cancelled_error(c.reason), t.attempt - 1, null, null, null, _now
        )
        from unnest(_ids, _attempts) as t (id, attempt)
        cross join lateral (
            select x.reason from currant.cancels as x where x.execution_id = t.id limit 1
        ) as c;
        select
            coalesce(array_agg(t.id order by t.n), '{}'), coalesce(array_agg(t.attempt order by t.n), '{}'),
            coalesce(array_agg(t.rank order by t.n), '{}'), coalesce(array_agg(t.seq order by t.n), '{}')
        into _ids, _attempts, _ranks, _seqs
        from unnest(_ids, _attempts, _ranks, _seqs) with ordinality as t (id, attempt, rank, seq, n)
        where not exists (select from currant.cancels as c where c.execution_id = t.id);
    end if;

    if cardinality(_ids) > 0 then
        with leased as (
            insert into currant.leases as l (
                execution_id, worker_id, attempt, is_workflow, parent_id, command_number, claimed_at, deadline_at
            )
            select e.id, claim.worker, t.attempt, false, e.parent_id, e.command_number, _now, _now + e.timeout
            from unnest(_ids, _attempts) with ordinality as t (id, attempt, n)
            join currant.executions as e on e.id = t.id
            order by t.n
            returning l.execution_id, l.token
        )
        select array_agg(t.id order by t.n), array_agg(l.token order by t.n), array_agg(t.rank order by t.n),
            array_agg(t.seq order by t.n)
        into _ids, _tokens, _ranks, _seqs
        from unnest(_ids, _ranks, _seqs) with ordinality as t (id, rank, seq, n)
        join leased as l on l.execution_id = t.id;
        return query select c.* from currant._claimed(worker, _ids, _tokens, _ranks, _seqs) as c;
    end if;

    foreach _queue in array queues
    loop
        exit when cardinality(_workflow_ids) >= workflows;
        -- Wake rows that turn out to be nothing (a thousand children ending leave a thousand) do not fill the claim.
        for _round in 1 .. 10
        loop
            _wanted := workflows - cardinality(_workflow_ids);
            _taken := currant._take(_queue, true, _wanted, hints -> 'marks' -> _queue -> 'w');
            exit when _taken.ids = '{}';
            with admitted as (
                select distinct on (t.id) t.id, t.rank, t.seq
                from unnest(_taken.ids, _taken.ranks, _taken.seqs) as t (id, rank, seq)
                join unnest(currant._admit_workflows(_taken, _workflow_ids)) as a (id) on a.id = t.id
                order by t.id, t.rank, t.seq
            )
            select
                _workflow_ids || coalesce(array_agg(a.id order by a.rank, a.seq), '{}'),
                _workflow_ranks || coalesce(array_agg(a.rank order by a.rank, a.seq), '{}'),
                _workflow_seqs || coalesce(array_agg(a.seq order by a.rank, a.seq), '{}')
            into _workflow_ids, _workflow_ranks, _workflow_seqs
            from admitted as a;
            exit when cardinality(_taken.ids) < _wanted or cardinality(_workflow_ids) >= workflows;
        end loop;
    end loop;

    if cardinality(_workflow_ids) > 0 then
        -- The lease's beginning is the time of the events it will apply: it never goes back, whatever the clock does.
        with leased as (
            insert into currant.leases as l (
                execution_id, worker_id, attempt, is_workflow, parent_id, command_number, claimed_at, deadline_at
            )
            select
                w.execution_id, claim.worker, 1, true, null, null,
                greatest(_now, w.last_at), _now + interval '60 seconds'
            from unnest(_workflow_ids) with ordinality as t (id, n)
            join currant.workflows as w on w.execution_id = t.id
            order by t.n
            returning l.execution_id, l.token
        )
        select array_agg(t.id order by t.n), array_agg(l.token order by t.n), array_agg(t.rank order by t.n),
            array_agg(t.seq order by t.n)
        into _workflow_ids, _tokens, _workflow_ranks, _workflow_seqs
        from unnest(_workflow_ids, _workflow_ranks, _workflow_seqs) with ordinality as t (id, rank, seq, n)
        join leased as l on l.execution_id = t.id;
        return query
        select c.* from currant._claimed(worker, _workflow_ids, _tokens, _workflow_ranks, _workflow_seqs) as c;
    end if;

    if _wait > 0 and cardinality(_ids) = 0 and cardinality(_workflow_ids) = 0 then
        update currant.workers as w
        set waiting_until = _now + make_interval(secs => least(_wait, 3600))
        where w.id = claim.worker;
    elsif _waiting_until is not null and coalesce(_wait, 0) <= 0 then
        update currant.workers as w set waiting_until = null where w.id = claim.worker;
    end if;
end
$$;

comment on function currant.claim(uuid, text[], integer, integer, jsonb) is
'Leases work from the queues to a worker: at most as many tasks and workflows as it has free slots for each; a worker that cannot replay workflows leaves that number at 0. Queues are served in the order given, so a worker rotates them; within a queue by priority, then first come first served. What others hold is skipped; it waits only for an earlier call of the same worker that is still in flight. hints (optional, only ever hints): marks says where the last claim began in each queue, {"queue": {"t": [[rank, seq]], "w": [[rank, seq]]}}; wait (seconds) declares that the worker will sleep that long if there is nothing, and wants a notification on channel currant_ready; a call without it withdraws that. A task whose cancellation was asked for ends here and is not returned. If the answer is lost, resume returns the leases. Errors: KR002 (register again), KR008, 22023.';

revoke all on function currant.claim(uuid, text[], integer, integer, jsonb) from public;
grant execute on function currant.claim(uuid, text[], integer, integer, jsonb) to currant_worker, currant_admin;

commit;

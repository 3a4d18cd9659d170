-- Deploy currant:claim to pg
-- requires: take
-- requires: admit_workflows
-- requires: attempts
-- requires: outcomes
-- requires: history
-- requires: enter_worker

begin;

-- In PL/pgSQL, as _claimed, because that keeps its plans; a function in SQL plans anew for every statement it is in.
create or replace function currant._inbox_of(workflow_id uuid)
returns jsonb
language plpgsql
stable
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set plan_cache_mode = force_generic_plan
set jit = off
as $$
begin
    return (
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
                    case when o.is_there then o.result else x.payload end as content
                from currant.inbox as x
                left join lateral (
                    select y.result, true as is_there
                    from currant.outcomes as y
                    where y.execution_id = x.child_id
                    limit 1
                ) as o on x.kind in ('task_completed', 'child_completed', 'attached_completed')
                where x.workflow_id = _inbox_of.workflow_id
                order by x.kind <> 'signal_received', x.arrival
                limit 1000
            ) as b
        ) as i
        where i.n = 1 or coalesce(i.bytes, 0) <= 16777216
    );
end
$$;

comment on function currant._inbox_of(uuid) is
'What has arrived for a workflow and is not applied yet, in the order to apply it: signals first, then by arrival. At most 1000 events and 16 MiB of payloads; advance wakes the workflow again for the rest.';

revoke all on function currant._inbox_of(uuid) from public;

create or replace function currant._continued(workflow_id uuid, first_event integer)
returns jsonb
language sql
stable
set search_path = pg_catalog, pg_temp
begin atomic
    select h.payload
    from currant.history_entries as h
    where
        h.workflow_id = _continued.workflow_id and h.event = _continued.first_event - 1
        and h.kind = 'continue_as_new';
end;

comment on function currant._continued(uuid, integer) is
'What a workflow continued as new with, when it began the run of that first event: its arguments and the signals it had not read.';

revoke all on function currant._continued(uuid, integer) from public;

create or replace function currant._claimed(
    worker uuid,
    ids uuid[],
    tokens bigint[],
    ranks integer[],
    seqs bigint[]
)
returns setof currant.claimed
language plpgsql
stable
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set plan_cache_mode = force_generic_plan
set jit = off
as $$
begin
    -- Lateral, here as elsewhere: such a sub-select is always one probe of the index. A join that is planned while the
    -- table is almost empty reads the whole index for it, which under a vacuum that is held back is mostly dead.
    return query
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
        case when w.first_event > 1 then currant._continued(e.id, w.first_event) -> 'args' else e.args end,
        e.headers,
        e.parent_id,
        e.root_id,
        e.created_at,
        l.claimed_at,
        e.timeout,
        (select p.details from currant.progress as p where p.execution_id = e.id),
        w.last_event,
        w.last_command,
        case
            when not l.is_workflow then null
            when (select true from currant.inbox as i where i.workflow_id = e.id limit 1) then currant._inbox_of(e.id)
            else '[]'
        end,
        w.first_event,
        case
            when w.first_event > 1 and w.last_event < w.first_event
                then currant._continued(e.id, w.first_event) -> 'signals'
        end,
        l.command_number
    from unnest(_claimed.ids, _claimed.tokens, _claimed.ranks, _claimed.seqs)
        with ordinality as c (id, token, rank, seq, n)
    cross join lateral (
        select x.token, x.attempt, x.claimed_at, x.is_workflow, x.command_number
        from (
            select y.token, y.attempt, y.claimed_at, y.is_workflow, y.command_number, y.worker_id
            from currant.leases as y
            where y.execution_id = c.id and y.token = c.token
            limit 1
        ) as x
        where x.worker_id = _claimed.worker
    ) as l
    join currant.executions as e on e.id = c.id
    left join lateral (
        select x.version, x.first_event, x.last_event, x.last_command
        from currant.workflows as x
        where x.execution_id = c.id
        limit 1
    ) as w on l.is_workflow
    order by c.n;
end
$$;

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
    -- The clock is read after that, which may have waited for another call of this worker.
    _waiting_until timestamptz := currant._enter_worker(worker);
    _now timestamptz := currant._now();
    _queue text;
    _asked text[];
    _are_many boolean := cardinality(queues) > 16;
    _are_all boolean := not _are_many;
    _taken currant._taken;
    _admitted uuid[];
    _ids uuid[] := array[]::uuid[];
    _attempts integer[] := array[]::integer[];
    _ranks integer[] := array[]::integer[];
    _seqs bigint[] := array[]::bigint[];
    _workflow_ids uuid[] := array[]::uuid[];
    _workflow_ranks integer[] := array[]::integer[];
    _workflow_seqs bigint[] := array[]::bigint[];
    _workflow_tokens bigint[];
    _wanted integer;
    _is_apart boolean := false;
    _last_rank integer;
    _most integer;
    _fresh integer := case when jsonb_typeof(hints -> 'fresh') = 'number' then (hints ->> 'fresh')::integer end;
    _wait double precision := case when jsonb_typeof(hints -> 'wait') = 'number' then (hints ->> 'wait')::double precision end;
begin
    if queues is null or tasks is null or workflows is null or tasks < 0 or workflows < 0 then
        raise exception using
            errcode = '22023', message = 'queues, tasks and workflows are needed',
            detail = format('queues %s, tasks %s, workflows %s', queues, tasks, workflows),
            hint = 'tasks and workflows are the numbers of free slots, from 0';
    end if;

    -- Of many queues the first three usually have enough; only if not is it asked which of the others have anything.
    _asked := case when _are_many then queues[:3] else queues end;
    loop
        foreach _queue in array _asked
        loop
            exit when cardinality(_ids) >= tasks;
            _taken := currant._take(
                _queue, false, tasks - cardinality(_ids), 2147483647, hints -> 'marks' -> _queue -> 't'
            );
            _ids := _ids || _taken.ids;
            _attempts := _attempts || _taken.attempts;
            _ranks := _ranks || _taken.ranks;
            _seqs := _seqs || _taken.seqs;
        end loop;
        exit when _are_all or cardinality(_ids) >= tasks;
        _asked := currant._stocked(queues[4:], false);
        _are_all := true;
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
        -- The token is drawn before the lease is inserted: matching what an insert returns with what went into it
        -- would compare every row with every other.
        return query
        with work as materialized (
            select
                nextval('currant.leases_token_seq') as token, t.attempt, t.rank, t.seq, t.n,
                e.id, e.kind, e.function, e.version, e.queue, e.max_attempts, e.args, e.headers, e.parent_id,
                e.command_number, e.root_id, e.created_at, e.timeout
            from unnest(_ids, _attempts, _ranks, _seqs) with ordinality as t (id, attempt, rank, seq, n)
            join currant.executions as e on e.id = t.id
        ),
        leased as (
            insert into currant.leases (
                execution_id, token, worker_id, attempt, is_workflow, parent_id, command_number, claimed_at,
                deadline_at
            )
            overriding system value
            select
                w.id, w.token, claim.worker, w.attempt, false, w.parent_id, w.command_number, _now,
                _now + w.timeout
            from work as w
        )
        select
            w.id, w.token, w.kind, w.function, w.version, w.queue, w.rank, w.seq, w.attempt, w.max_attempts, w.args,
            w.headers, w.parent_id, w.root_id, w.created_at, _now, w.timeout,
            (select p.details from currant.progress as p where p.execution_id = w.id),
            null::integer, null::integer, null::jsonb, null::integer, null::jsonb, w.command_number
        from work as w
        order by w.n;
    end if;

    if _are_many and workflows > 0 then
        queues := currant._stocked(queues, true);
    end if;
    -- First those that have begun, if only some of the others are wanted.
    for _last_rank, _most in
        select p.last_rank, p.most
        from (values (0, workflows), (2147483647, least(workflows, coalesce(_fresh, workflows)))) as p (last_rank, most)
        where p.last_rank > 0 or _fresh < workflows
    loop
        if _last_rank > 0 then
            _most := least(workflows, cardinality(_workflow_ids) + _most);
        end if;
        foreach _queue in array queues
        loop
            exit when cardinality(_workflow_ids) >= _most or _is_apart;
            -- Wake rows that turn out to be nothing (a thousand children ending leave a thousand) do not fill the claim.
            for _round in 1 .. 10
            loop
                _wanted := _most - cardinality(_workflow_ids);
                _taken := currant._take(
                    _queue, true, _wanted, _last_rank, hints -> 'marks' -> _queue -> 'w'
                );
                exit when _taken.ids = '{}';
                -- By itself: in a join that starts with a table it would not be called if that gives nothing.
                _admitted := currant._admit_workflows(_taken, _workflow_ids);
                with admitted as (
                    select distinct on (t.id)
                        t.id, t.rank, t.seq,
                        (
                            select w.lost_activations > 0 from currant.workflows as w where w.execution_id = t.id
                        ) as is_apart
                    from unnest(_taken.ids, _taken.ranks, _taken.seqs) as t (id, rank, seq)
                    where t.id = any (_admitted)
                    order by t.id, t.rank, t.seq
                )
                select
                    _workflow_ids || coalesce(array_agg(a.id order by a.rank, a.seq), '{}'),
                    _workflow_ranks || coalesce(array_agg(a.rank order by a.rank, a.seq), '{}'),
                    _workflow_seqs || coalesce(array_agg(a.seq order by a.rank, a.seq), '{}'),
                    coalesce(bool_or(a.is_apart), false)
                into _workflow_ids, _workflow_ranks, _workflow_seqs, _is_apart
                from admitted as a;
                exit when cardinality(_taken.ids) < _wanted or cardinality(_workflow_ids) >= _most or _is_apart;
            end loop;
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
            cross join lateral (
                select x.execution_id, x.last_at from currant.workflows as x where x.execution_id = t.id limit 1
            ) as w
            order by t.n
            returning l.execution_id, l.token
        )
        select array_agg(t.id order by t.n), array_agg(l.token order by t.n), array_agg(t.rank order by t.n),
            array_agg(t.seq order by t.n)
        into _workflow_ids, _workflow_tokens, _workflow_ranks, _workflow_seqs
        from unnest(_workflow_ids, _workflow_ranks, _workflow_seqs) with ordinality as t (id, rank, seq, n)
        join leased as l on l.execution_id = t.id;
        return query
        select c.* from currant._claimed(worker, _workflow_ids, _workflow_tokens, _workflow_ranks, _workflow_seqs) as c;
    end if;

    if _wait > 0 and cardinality(_ids) = 0 and cardinality(_workflow_ids) = 0 then
        -- Who asks again and again is not written down every time.
        if coalesce(_waiting_until, '-infinity') < _now + make_interval(secs => least(_wait, 3600) / 2) then
            update currant.workers as w
            set waiting_until = _now + make_interval(secs => least(_wait, 3600))
            where w.id = claim.worker;
        end if;
    elsif _waiting_until is not null
        and (
            _wait > 0 is not true
            -- It has no room for more, or will look for what the workflow asks for.
            or cardinality(_ids) >= greatest(tasks, 1)
            or cardinality(_workflow_ids) > 0
        )
    then
        update currant.workers as w set waiting_until = null where w.id = claim.worker;
    end if;
end
$$;

comment on function currant.claim(uuid, text[], integer, integer, jsonb) is
'Leases work from the queues to a worker: at most as many tasks and workflows as it has free slots for each; a worker that cannot replay workflows leaves that number at 0. Queues are served in the order given, so a worker rotates them; within a queue by priority, then first come first served. What others hold is skipped; it waits only for an earlier call of the same worker that is still in flight. hints (optional, only ever hints): marks says where the last claim began in each queue, {"queue": {"t": [[rank, seq]], "w": [[rank, seq]]}}; wait (seconds) declares that the worker will sleep that long if there is nothing, and wants a notification on channel currant_ready; a call without it withdraws that, and so does one that fills the slots for tasks or gives a workflow; fresh is the number of workflows wanted that have not begun (those of a priority over 0 apart). A task whose cancellation was asked for ends here and is not returned. A workflow whose last activation was lost with its worker is returned alone. If the answer is lost, resume returns the leases. Errors: KR002 (register again), KR008, 22023.';

revoke all on function currant.claim(uuid, text[], integer, integer, jsonb) from public;
grant execute on function currant.claim(uuid, text[], integer, integer, jsonb) to currant_worker, currant_admin;

commit;

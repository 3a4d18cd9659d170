-- Deploy currant:complete_many to pg
-- requires: leases
-- requires: outcomes
-- requires: inbox
-- requires: workflows
-- requires: ready
-- requires: payload
-- requires: enter_worker
-- requires: notify

begin;

-- In PL/pgSQL, as _words, because that keeps its plans; a function in SQL plans anew for every statement it is in. Each
-- lease is one probe of the primary key: a join may be planned by worker instead, and compare all its leases with all
-- that are given.
create or replace function currant._take_leases(
    worker uuid,
    executions uuid[],
    tokens bigint[],
    with_workflows boolean
)
returns setof currant.leases
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set plan_cache_mode = force_generic_plan
set jit = off
as $$
begin
    return query
    delete from currant.leases as d
    where d.ctid = any (array(
        select x.place
        from (
            select g.execution_id, g.token
            from unnest(_take_leases.executions, _take_leases.tokens) as g (execution_id, token)
            order by g.execution_id, g.token
        ) as t
        cross join lateral (
            select l.ctid as place
            from currant.leases as l
            where
                l.execution_id = t.execution_id and l.token = t.token
                and (not l.is_workflow or _take_leases.with_workflows)
                and (l.worker_id = _take_leases.worker) is true
            limit 1
            for update skip locked
        ) as x
    ))
    returning
        d.execution_id, d.token, d.worker_id, d.attempt, d.is_workflow, d.parent_id, d.command_number,
        d.claimed_at, d.deadline_at;
end
$$;

comment on function currant._take_leases(uuid, uuid[], bigint[], boolean) is
'Deletes and returns those of the given leases that the worker holds and nobody has locked. Those of workflows are left alone unless asked for: only advance ends an activation. Whoever has deleted a lease decides alone how its run ends.';

revoke all on function currant._take_leases(uuid, uuid[], bigint[], boolean) from public;

create or replace function currant._words(
    worker uuid,
    executions uuid[],
    tokens bigint[],
    accepted bigint[]
)
returns text[]
language plpgsql
stable
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set plan_cache_mode = force_generic_plan
set jit = off
as $$
begin
    return (
        select coalesce(
            array_agg(
                case
                    when t.token = any (_words.accepted) then 'accepted'
                    when (
                        select true from currant.leases as l
                        where l.execution_id = t.execution_id and l.token = t.token and l.worker_id = _words.worker
                        limit 1
                    ) then 'busy'
                    when (
                        select true from currant.outcomes as o
                        where o.execution_id = t.execution_id and o.token = t.token
                        limit 1
                    ) then 'already'
                    when (
                        select true from currant.attempts as a
                        where
                            a.execution_id = t.execution_id and a.token = t.token and a.worker_id = _words.worker
                            and not a.error ? 'enforced'
                        limit 1
                    ) then 'already'
                    else 'lost'
                end
                order by t.n
            ),
            '{}'
        )
        from unnest(_words.executions, _words.tokens) with ordinality as t (execution_id, token, n)
    );
end
$$;

comment on function currant._words(uuid, uuid[], bigint[], bigint[]) is
'The answer for each lease a worker wanted to end: accepted (just now), busy (locked by somebody else: send again), already (this lease ended it before: a repeated call), lost (the lease is gone).';

revoke all on function currant._words(uuid, uuid[], bigint[], bigint[]) from public;

create or replace function currant.complete_many(
    worker uuid,
    executions uuid[],
    tokens bigint[],
    results jsonb[]
)
returns text[]
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
    _accepted bigint[];
    _parents uuid[];
    _numbers integer[];
    _children uuid[];
begin
    perform currant._require_read_committed();
    if cardinality(executions) <> cardinality(tokens) or cardinality(executions) <> cardinality(results) then
        raise exception using
            errcode = '22023', message = 'executions, tokens and results differ in number',
            detail = format('%s, %s, %s', cardinality(executions), cardinality(tokens), cardinality(results)),
            hint = 'give one of each for every completion';
    end if;
    -- No element is larger than the whole.
    if pg_column_size(results) > (select c.max_payload_bytes from currant.configuration as c) then
        perform currant._check_size('result', max(pg_column_size(r.value))) from unnest(results) as r (value);
    end if;

    with held as materialized (
        select x.place, t.result
        from (
            select g.execution_id, g.token, g.result
            from unnest(executions, tokens, results) as g (execution_id, token, result)
            order by g.execution_id, g.token
        ) as t
        cross join lateral (
            select l.ctid as place
            from currant.leases as l
            where
                l.execution_id = t.execution_id and l.token = t.token and not l.is_workflow
                and (l.worker_id = complete_many.worker) is true
            limit 1
            for update skip locked
        ) as x
    ),
    ended as (
        delete from currant.leases as d
        using held as h
        where d.ctid = h.place
        returning
            d.execution_id, d.token, d.attempt, d.parent_id, d.command_number, d.claimed_at, h.result
    ),
    stored as (
        insert into currant.outcomes (
            execution_id, status, result, attempt, token, worker_id, started_at, finished_at
        )
        select
            e.execution_id, 'completed', coalesce(e.result, 'null'), e.attempt, e.token, complete_many.worker,
            e.claimed_at, _now
        from ended as e
    )
    select
        array_agg(e.token),
        array_agg(e.parent_id) filter (where e.parent_id is not null),
        array_agg(e.command_number) filter (where e.parent_id is not null),
        array_agg(e.execution_id) filter (where e.parent_id is not null)
    into _accepted, _parents, _numbers, _children
    from ended as e;

    if _parents is not null then
        -- A lateral sub-select is always one probe of the index, where a join may be planned over all open workflows.
        with parents as (
            select w.execution_id, w.queue, w.rank, t.number, t.child_id
            from unnest(_parents, _numbers, _children) as t (workflow_id, number, child_id)
            cross join lateral (
                select x.execution_id, x.queue, x.rank
                from currant.workflows as x
                where x.execution_id = t.workflow_id
                limit 1
            ) as w
        ),
        told as (
            insert into currant.inbox (workflow_id, kind, number, child_id, arrived_at)
            select p.execution_id, 'task_completed', p.number, p.child_id, _now
            from parents as p
        )
        insert into currant.ready (execution_id, queue, rank, attempt, is_workflow)
        select distinct p.execution_id, p.queue, p.rank, 0, true
        from parents as p;
    end if;

    if cardinality(_accepted) = cardinality(executions) then
        return array_fill('accepted'::text, array[cardinality(executions)]);
    end if;
    return currant._words(worker, executions, tokens, coalesce(_accepted, '{}'));
end
$$;

comment on function currant.complete_many(uuid, uuid[], bigint[], jsonb[]) is
'Ends tasks as completed with their results, under the leases that the tokens name. Returns one word for each, in order: accepted, already (a repeated call; nothing changes), lost (the lease is gone: the result is not stored), busy (locked by somebody else at this moment: send it again). Waits for nobody. A workflow that asked for a task is told and woken in the same transaction. Errors: KR005 (a result too large; nothing of the call is stored), KR008, 22023.';

revoke all on function currant.complete_many(uuid, uuid[], bigint[], jsonb[]) from public;
grant execute on function currant.complete_many(uuid, uuid[], bigint[], jsonb[]) to currant_worker, currant_admin;

commit;

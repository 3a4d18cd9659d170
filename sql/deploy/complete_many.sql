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

create or replace function currant._take_leases(
    worker uuid,
    executions uuid[],
    tokens bigint[],
    with_workflows boolean
)
returns setof currant.leases
language sql
volatile
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
as $$
    delete from currant.leases as d
    where d.ctid = any (array(
        select l.ctid
        from unnest(_take_leases.executions, _take_leases.tokens) as t (execution_id, token)
        join currant.leases as l on l.execution_id = t.execution_id and l.token = t.token
        where l.worker_id = _take_leases.worker and (not l.is_workflow or _take_leases.with_workflows)
        order by l.execution_id, l.token
        for update of l skip locked
    ))
    returning
        d.execution_id, d.token, d.worker_id, d.attempt, d.is_workflow, d.parent_id, d.command_number,
        d.claimed_at, d.deadline_at
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
language sql
stable
set search_path = pg_catalog, pg_temp
begin atomic
    select coalesce(
        array_agg(
            case
                when t.token = any (_words.accepted) then 'accepted'
                when exists (
                    select from currant.leases as l
                    where l.execution_id = t.execution_id and l.token = t.token and l.worker_id = _words.worker
                ) then 'busy'
                when exists (
                    select from currant.outcomes as o
                    where o.execution_id = t.execution_id and o.token = t.token
                ) then 'already'
                when exists (
                    select from currant.attempts as a
                    where
                        a.execution_id = t.execution_id and a.token = t.token and a.worker_id = _words.worker
                        and not a.error ? 'enforced'
                ) then 'already'
                else 'lost'
            end
            order by t.n
        ),
        '{}'
    )
    from unnest(_words.executions, _words.tokens) with ordinality as t (execution_id, token, n);
end;

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
    _bytes bigint;
    _accepted bigint[];
begin
    perform currant._require_read_committed();
    if cardinality(executions) <> cardinality(tokens) or cardinality(executions) <> cardinality(results) then
        raise exception using
            errcode = '22023', message = 'executions, tokens and results differ in number',
            detail = format('%s, %s, %s', cardinality(executions), cardinality(tokens), cardinality(results)),
            hint = 'give one of each for every completion';
    end if;
    select max(pg_column_size(r.value)) into _bytes from unnest(results) as r (value);
    perform currant._check_size('result', _bytes);

    -- One statement: the lease goes, the outcome comes, the parent is told and woken, or nothing of it. A lateral
    -- sub-select is always one probe of the index, where a join may be planned over all open workflows.
    with ended as (
        select l.execution_id, l.token, l.attempt, l.worker_id, l.parent_id, l.command_number, l.claimed_at
        from currant._take_leases(worker, executions, tokens, false) as l
    ),
    stored as (
        insert into currant.outcomes (
            execution_id, status, result, attempt, token, worker_id, started_at, finished_at
        )
        select distinct on (e.token)
            e.execution_id, 'completed', coalesce(t.result, 'null'), e.attempt, e.token, e.worker_id,
            e.claimed_at, _now
        from unnest(executions, tokens, results) as t (execution_id, token, result)
        join ended as e on e.execution_id = t.execution_id and e.token = t.token
    ),
    told as (
        insert into currant.inbox (workflow_id, kind, number, child_id, arrived_at)
        select w.execution_id, 'task_completed', e.command_number, e.execution_id, _now
        from ended as e
        cross join lateral (
            select x.execution_id, x.queue, x.rank
            from currant.workflows as x
            where x.execution_id = e.parent_id
            limit 1
        ) as w
        where e.parent_id is not null
    ),
    woken as (
        insert into currant.ready (execution_id, queue, rank, attempt, is_workflow)
        select distinct w.execution_id, w.queue, w.rank, 0, true
        from ended as e
        cross join lateral (
            select x.execution_id, x.queue, x.rank
            from currant.workflows as x
            where x.execution_id = e.parent_id
            limit 1
        ) as w
        where e.parent_id is not null
    )
    select array_agg(e.token) into _accepted from ended as e;

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

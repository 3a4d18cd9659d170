-- Deploy currant:heartbeat to pg
-- requires: workers
-- requires: leases
-- requires: cancels
-- requires: attempts
-- requires: payload
-- requires: types
-- requires: enter_worker

begin;

create or replace function currant.heartbeat(
    worker uuid,
    executions uuid[],
    tokens bigint[],
    details jsonb[] default null
)
returns setof currant.heartbeat_answer
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set jit = off
as $$
declare
    _now timestamptz := currant._now();
    _bytes bigint;
begin
    if cardinality(executions) is distinct from cardinality(tokens)
        or cardinality(executions) <> cardinality(details)
    then
        raise exception using
            errcode = '22023', message = 'executions, tokens and details differ in number',
            detail = format('%s, %s, %s', cardinality(executions), cardinality(tokens), cardinality(details)),
            hint = 'give one of each for every lease';
    end if;
    if details is not null then
        -- It may be followed by a claim in the same transaction: the locks in the order of all others.
        perform pg_advisory_xact_lock(hashtextextended(worker::text, 0));
    end if;
    update currant.workers as w
    set heartbeat_at = _now
    where w.id = heartbeat.worker and w.died_at is null;
    if not found then
        raise exception using
            errcode = 'KR002', message = 'worker is not registered or was declared dead',
            detail = format('worker %s', worker),
            hint = 'stop what it is running, and register under a new id';
    end if;

    if details is not null then
        select max(pg_column_size(d.value)) into _bytes from unnest(details) as d (value);
        perform currant._check_size('heartbeat details', _bytes);
        insert into currant.progress as p (execution_id, details, reported_at)
        select t.execution_id, t.details, _now
        from unnest(executions, tokens, heartbeat.details) as t (execution_id, token, details)
        where
            t.details is not null
            and (
                select l.worker_id from currant.leases as l
                where l.execution_id = t.execution_id and l.token = t.token
                limit 1
            ) = heartbeat.worker
        order by t.execution_id
        on conflict on constraint progress_pkey do update
        set details = excluded.details, reported_at = excluded.reported_at;
    end if;

    return query
    select t.execution_id, t.token, case when l.worker_id = heartbeat.worker then 'cancel' else 'lost' end
    from unnest(executions, tokens) as t (execution_id, token)
    left join lateral (
        select x.worker_id, x.is_workflow
        from currant.leases as x
        where x.execution_id = t.execution_id and x.token = t.token
        limit 1
    ) as l on true
    where
        l.worker_id is distinct from heartbeat.worker
        or (
            not l.is_workflow
            and (select true from currant.cancels as c where c.execution_id = t.execution_id limit 1)
        );
end
$$;

comment on function currant.heartbeat(uuid, uuid[], bigint[], jsonb[]) is
'The worker is alive. Give what it runs; returned are those that need attention: lost (the lease is gone: stop, nothing of it will be accepted) and cancel (cancellation was asked for). details (one for each, or null): kept for the next attempt, if the lease still holds. Changes no lease. Errors: KR002 (declared dead, all its work is others'': register again), KR005, 22023.';

revoke all on function currant.heartbeat(uuid, uuid[], bigint[], jsonb[]) from public;
grant execute on function currant.heartbeat(uuid, uuid[], bigint[], jsonb[]) to currant_worker, currant_admin;

commit;

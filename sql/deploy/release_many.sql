-- Deploy currant:release_many to pg
-- requires: complete_many
-- requires: end_workflow
-- requires: delayed
-- requires: workers

begin;

-- Grows with how long it has been tried, without a counter: each wait is half of the time passed so far.
create or replace function currant._backoff(since timestamptz, now timestamptz, max_delay interval)
returns interval
language sql
immutable
begin atomic
    select least(greatest((now - since) / 2, interval '1 second'), max_delay);
end;

comment on function currant._backoff(timestamptz, timestamptz, interval) is
'How long to wait before something is tried again that has been failing since then: half of the time passed, from one second up to max_delay.';

revoke all on function currant._backoff(timestamptz, timestamptz, interval) from public;

create or replace function currant._block_workflow(execution_id uuid, reason text, at timestamptz)
returns void
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    -- Nobody is going to run it and hear of the request.
    if exists (
        select from currant.inbox as i
        where i.workflow_id = _block_workflow.execution_id and i.kind = 'cancel_requested'
    ) then
        perform currant._end_workflow(
            execution_id, 'cancelled',
            currant._cancelled_error(
                (
                    select c.reason from currant.cancels as c
                    where c.execution_id = _block_workflow.execution_id
                    limit 1
                )
            ),
            at
        );
        return;
    end if;
    -- A worker that has come since may be the one that can run it, though another was faster once more: the waits begin
    -- anew with it. Not so after a loss, which new workers may be a consequence of.
    insert into currant.delayed (execution_id, kind, due_at, reason)
    select
        w.execution_id, 'blocked',
        _block_workflow.at + currant._backoff(
            greatest(
                coalesce(w.blocked_since, _block_workflow.at),
                case
                    when w.lost_activations = 0
                        then (select max(x.started_at) from currant.workers as x where x.died_at is null)
                end
            ),
            _block_workflow.at, interval '5 minutes'
        ),
        left(_block_workflow.reason, 10000)
    from currant.workflows as w
    where w.execution_id = _block_workflow.execution_id
    on conflict on constraint delayed_pkey do nothing;

    update currant.workflows as w
    set
        blocked_reason = left(_block_workflow.reason, 10000),
        blocked_since = coalesce(w.blocked_since, _block_workflow.at)
    where w.execution_id = _block_workflow.execution_id;
end
$$;

comment on function currant._block_workflow(uuid, text, timestamptz) is
'Marks a workflow, whose row the caller has locked, as blocked and has it tried again later; one whose cancellation was asked for ends instead.';

revoke all on function currant._block_workflow(uuid, text, timestamptz) from public;

create or replace function currant._make_ready(execution_id uuid, attempt integer)
returns void
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    insert into currant.ready (execution_id, queue, rank, attempt, is_workflow)
    select
        e.id, e.queue,
        -2 * e.priority + case when e.parent_id is null and coalesce(w.last_event, 0) = 0 then 1 else 0 end,
        _make_ready.attempt, e.kind = 'workflow'
    from currant.executions as e
    left join currant.workflows as w on e.kind = 'workflow' and w.execution_id = e.id
    where e.id = _make_ready.execution_id;
end
$$;

comment on function currant._make_ready(uuid, integer) is
'Queues an execution that the caller has taken out of leases or delayed.';

revoke all on function currant._make_ready(uuid, integer) from public;

create or replace function currant._is_for_another(execution_id uuid, worker uuid, at timestamptz)
returns boolean
language sql
stable
set search_path = pg_catalog, pg_temp
begin atomic
    select exists (
        select
        from currant.executions as e
        left join currant.workflows as w on w.execution_id = e.id
        join currant.worker_functions as f
            on f.function = e.function and f.version >= coalesce(w.version, e.version)
        join currant.workers as x on x.id = f.worker_id
        where
            e.id = _is_for_another.execution_id
            and x.id <> _is_for_another.worker
            and e.queue = any (x.queues)
            and x.died_at is null
            and x.heartbeat_at > _is_for_another.at - x.heartbeat_timeout
    );
end;

comment on function currant._is_for_another(uuid, uuid, timestamptz) is
'Whether some other worker that is alive serves the queue of the execution and has its function in its version or a newer one.';

revoke all on function currant._is_for_another(uuid, uuid, timestamptz) from public;

create or replace function currant._give_back(
    worker uuid,
    execution_id uuid,
    attempt integer,
    is_workflow boolean,
    reason text,
    at timestamptz
)
returns void
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    _cancelled text;
begin
    if not is_workflow then
        select coalesce(c.reason, '') into _cancelled
        from currant.cancels as c
        where c.execution_id = _give_back.execution_id;
        if found then
            perform currant._end_unsuccessfully(
                execution_id, 'cancelled', currant._cancelled_error(nullif(_cancelled, '')), attempt - 1,
                null, null, null, at
            );
            return;
        end if;
    end if;
    if reason is null then
        perform currant._make_ready(execution_id, attempt);
    elsif currant._is_for_another(execution_id, worker, at) then
        -- Soon, but not at once, since the same worker may be the next to look. It is no fault of the workflow's: it is
        -- not blocked.
        insert into currant.delayed (execution_id, kind, due_at, attempt, reason)
        select
            e.id, 'release',
            _give_back.at
            + least(
                greatest((_give_back.at - coalesce(w.last_at, e.created_at)) / 2, interval '100 milliseconds'),
                interval '500 milliseconds'
            ),
            _give_back.attempt, left(_give_back.reason, 10000)
        from currant.executions as e
        left join currant.workflows as w on w.execution_id = e.id
        where e.id = _give_back.execution_id
        on conflict on constraint delayed_pkey do nothing;
    elsif is_workflow then
        perform currant._block_workflow(execution_id, reason, at);
    else
        insert into currant.delayed (execution_id, kind, due_at, attempt, reason)
        select
            e.id, 'release', _give_back.at + currant._backoff(e.created_at, _give_back.at, interval '1 minute'),
            _give_back.attempt, left(_give_back.reason, 10000)
        from currant.executions as e
        where e.id = _give_back.execution_id;
    end if;
end
$$;

comment on function currant._give_back(uuid, uuid, integer, boolean, text, timestamptz) is
'Queues an execution again whose lease the caller has deleted, without counting the attempt: at once, or if there is a reason, soon for another worker that can run it, else later.';

revoke all on function currant._give_back(uuid, uuid, integer, boolean, text, timestamptz) from public;

create or replace function currant.release_many(
    worker uuid,
    executions uuid[],
    tokens bigint[],
    reasons text[] default null
)
returns text[]
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    _now timestamptz := currant._now();
    _locked uuid[];
    _accepted bigint[];
begin
    perform currant._require_read_committed();
    if cardinality(executions) <> cardinality(tokens) or cardinality(executions) <> cardinality(reasons) then
        raise exception using
            errcode = '22023', message = 'executions, tokens and reasons differ in number',
            detail = format('%s, %s, %s', cardinality(executions), cardinality(tokens), cardinality(reasons)),
            hint = 'give one of each for everything that is given back';
    end if;

    -- Lock order: a workflow's row before its lease, as everywhere.
    select coalesce(array_agg(l.execution_id), '{}') into _locked
    from (
        select w.execution_id
        from currant.workflows as w
        where w.execution_id = any (release_many.executions)
        order by w.execution_id
        for update skip locked
    ) as l;

    with allowed as (
        select array_agg(t.execution_id) as ids, array_agg(t.token) as tokens
        from unnest(executions, tokens) as t (execution_id, token)
        where
            t.execution_id = any (_locked)
            or not exists (select from currant.workflows as w where w.execution_id = t.execution_id)
    ),
    ended as (
        select l.execution_id, l.token, l.attempt, l.is_workflow
        from allowed as a
        cross join currant._take_leases(worker, a.ids, a.tokens, true) as l
    ),
    given_back as (
        select e.token, currant._give_back(worker, e.execution_id, e.attempt, e.is_workflow, t.reason, _now)
        from ended as e
        cross join lateral (
            select g.reason
            from unnest(executions, tokens, reasons) as g (execution_id, token, reason)
            where g.execution_id = e.execution_id and g.token = e.token
            limit 1
        ) as t
    )
    select array_agg(g.token) into _accepted from given_back as g;

    return currant._words(worker, executions, tokens, coalesce(_accepted, '{}'));
end
$$;

comment on function currant.release_many(uuid, uuid[], bigint[], text[]) is
'Gives leases back without counting the attempt: at once for another claim, or, with a reason (such as a function this worker does not know), a moment later if another worker that is alive has registered the function, else in growing steps, a workflow as blocked; the reason is visible in status, and register_worker of a worker that knows the function makes it ready before that. A task whose cancellation was asked for ends as cancelled. Returns one word for each: accepted, lost (nothing to give back, also for a repeated call), already (this lease has ended the task) or busy (send it again). Errors: 22023, KR008.';

revoke all on function currant.release_many(uuid, uuid[], bigint[], text[]) from public;
grant execute on function currant.release_many(uuid, uuid[], bigint[], text[]) to currant_worker, currant_admin;

commit;

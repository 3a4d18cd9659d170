-- Deploy currant:start_children to pg
-- requires: executions
-- requires: workflows
-- requires: ready
-- requires: delayed
-- requires: policy
-- requires: types
-- requires: leases

begin;

create or replace function currant._keyed_to_start(commands jsonb, is_last boolean)
returns integer[]
language plpgsql
immutable
set search_path = pg_catalog, pg_temp
as $$
begin
    return array(
        select (c.value ->> 'number')::integer
        from jsonb_array_elements(commands) as c (value)
        where
            c.value ->> 'kind' = 'child'
            and c.value -> 'payload' -> 'options' ->> 'key' is not null
            and not exists (
                select from jsonb_array_elements(commands) as x (value)
                where x.value ->> 'kind' = 'cancel' and x.value -> 'number' = c.value -> 'number'
            )
            and (not is_last or c.value -> 'payload' -> 'options' ->> 'on_parent_end' = 'abandon')
    );
end
$$;

comment on function currant._keyed_to_start(jsonb, boolean) is
'The numbers of those of a commit''s commands that ask for child workflows with an idempotency key and are to be made: what the same commit cancels is not, and of a run''s last commit only what is to outlive it.';

revoke all on function currant._keyed_to_start(jsonb, boolean) from public;

create or replace function currant._to_start(commands currant._command[], ending uuid[])
returns currant._command[]
language plpgsql
immutable
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set jit = off
as $$
begin
    return array(
        select c
        from unnest(_to_start.commands) as c
        where
            (c.kind = 'task' or (c.kind = 'child' and c.payload -> 'options' ->> 'key' is null))
            -- Created and cancelled in the same commit: both are in the history, and nothing is run.
            and (c.workflow_id, c.number) not in (
                select x.workflow_id, x.number from unnest(_to_start.commands) as x where x.kind = 'cancel'
            )
            and (c.workflow_id <> all (ending) or c.payload -> 'options' ->> 'on_parent_end' = 'abandon')
    );
end
$$;

comment on function currant._to_start(currant._command[], uuid[]) is
'Those of several workflows'' commands that ask for tasks and child workflows, without an idempotency key, that are to be made: what the same commit cancels is not, and of workflows that are ending only what is to outlive them.';

revoke all on function currant._to_start(currant._command[], uuid[]) from public;

create or replace function currant._policy_of_child(kind text, function text, options jsonb, fallback_queue text)
returns currant._policy
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
begin
    perform currant._check_options(
        options,
        currant._enqueue_options(
            case when kind = 'child' then array['key', 'key_scope', 'on_parent_end'] else array[]::text[] end
        )
    );
    return currant._policy(
        function, case when kind = 'child' then options || '{"kind": "workflow"}' else options end, fallback_queue
    );
end
$$;

comment on function currant._policy_of_child(text, text, jsonb, text) is
'What a task or child of a workflow is to be run with. Errors: 22023, KR001.';

revoke all on function currant._policy_of_child(text, text, jsonb, text) from public;

-- The steps of workflows mostly have the same options as their neighbours, and to find out what those mean costs more
-- than everything else, so it is done once for all that are alike.
create or replace function currant._start_children(
    children currant._command[],
    worker uuid,
    queues text[],
    slots integer,
    at timestamptz
)
returns currant._started
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_mergejoin = off
set plan_cache_mode = force_generic_plan
set jit = off
as $$
declare
    _at json := to_json(at);
    _made record;
begin
    with given as materialized (
        select
            c.n, c.workflow_id, c.number, c.kind, c.name, (c.payload ->> 'id')::uuid as id,
            coalesce(c.payload -> 'args', '{}') as args, p.queue, p.root_id,
            case when jsonb_typeof(o.options -> 'headers') = 'object' then o.options -> 'headers' end as headers,
            -- Headers may be each task's own, and have no part in how it is run.
            case
                when jsonb_typeof(o.options -> 'headers') = 'object' then o.options - 'headers'
                else coalesce(nullif(o.options, 'null'), '{}')
            end as options
        from unnest(children) with ordinality
            as c (workflow_id, at, event, place, kind, number, name, source, payload, n)
        cross join lateral (select c.payload -> 'options' as options offset 0) as o
        cross join lateral (
            select e.queue, e.root_id from currant.executions as e where e.id = c.workflow_id limit 1
        ) as p
    ),
    resolved as materialized (
        select
            d.kind, d.name, d.options, d.queue as fallback_queue, r.version, r.queue, r.priority, r.max_attempts,
            r.timeout, r.retry_delay, r.retry_backoff, r.retry_max_delay, r.due_at,
            coalesce(r.due_at > _start_children.at, false) as is_later,
            d.kind = 'task' and coalesce(r.queue = any (_start_children.queues), false)
            and coalesce(r.due_at <= _start_children.at, true) as may_be_direct
        from (select distinct g.kind, g.name, g.options, g.queue from given as g) as d
        cross join lateral currant._policy_of_child(d.kind, d.name, d.options, d.queue) as r
    ),
    direct as (
        select g.n
        from given as g
        join resolved as r
            on r.kind = g.kind and r.name = g.name and r.options = g.options and r.fallback_queue = g.queue
        where r.may_be_direct
        order by r.priority desc, g.n
        limit _start_children.slots
    ),
    wanted as materialized (
        -- The token is drawn before the lease is inserted, so that what goes back need not be put together again.
        select d.*, case when d.is_direct then nextval('currant.leases_token_seq') end as token
        from (
            select
                g.n, g.workflow_id, g.number, g.kind = 'child' as is_workflow, g.name, g.id, g.args, g.headers,
                g.options, g.root_id, r.version, r.queue, r.priority, r.max_attempts, r.timeout, r.retry_delay,
                r.retry_backoff, r.retry_max_delay, r.due_at, r.is_later,
                r.may_be_direct
                and case
                    when cardinality(children) > _start_children.slots
                        then g.n = any (array(select x.n from direct as x))
                    else true
                end as is_direct
            from given as g
            join resolved as r
                on r.kind = g.kind and r.name = g.name and r.options = g.options and r.fallback_queue = g.queue
            order by g.n
        ) as d
    ),
    created as (
        insert into currant.executions (
            id, kind, function, version, queue, priority, args, max_attempts, timeout,
            retry_delay, retry_backoff, retry_max_delay, parent_id, command_number, root_id, key, headers, created_at,
            on_parent_end
        )
        select
            w.id, case when w.is_workflow then 'workflow' else 'task' end, w.name, w.version, w.queue, w.priority,
            w.args, w.max_attempts, w.timeout, w.retry_delay, w.retry_backoff, w.retry_max_delay, w.workflow_id,
            w.number, w.root_id, w.options ->> 'key', w.headers, _start_children.at,
            coalesce(w.options ->> 'on_parent_end', 'cancel')
        from wanted as w
    ),
    leased as (
        insert into currant.leases (
            execution_id, token, worker_id, attempt, is_workflow, parent_id, command_number, claimed_at, deadline_at
        )
        overriding system value
        select
            w.id, w.token, _start_children.worker, 1, false, w.workflow_id, w.number, _start_children.at,
            _start_children.at + w.timeout
        from wanted as w
        where w.is_direct
    )
    select
        json_agg(
            json_build_array(
                w.id, w.token, w.name, w.version, w.queue, 1, w.max_attempts, w.args, w.headers, w.workflow_id,
                w.number, w.root_id, _at, _at, extract(epoch from w.timeout)
            )
        ) filter (where w.is_direct) as leases,
        array_agg(w.workflow_id) filter (where not w.is_workflow) as of_tasks,
        array_agg(w.workflow_id) filter (where w.is_workflow) as of_children,
        array_agg(w.id) filter (where w.is_workflow) as workflows,
        array_agg(w.id) filter (where w.is_later) as later,
        array_agg(w.due_at) filter (where w.is_later) as due_at,
        array_agg(w.id) filter (where not w.is_later and not w.is_direct) as ready
    into _made
    from wanted as w;

    if _made.workflows is not null then
        insert into currant.workflows (execution_id, queue, rank, timeout, version, last_at)
        select e.id, e.queue, -2 * e.priority, e.timeout, e.version, _start_children.at
        from currant.executions as e
        where e.id = any (_made.workflows);
    end if;
    if _made.later is not null then
        insert into currant.delayed (execution_id, kind, due_at)
        select t.id, 'start', t.due_at
        from unnest(_made.later, _made.due_at) as t (id, due_at);
    end if;
    if _made.ready is not null then
        insert into currant.ready (execution_id, queue, rank, attempt, is_workflow)
        select t.id, e.queue, -2 * e.priority, 1, e.kind = 'workflow'
        from unnest(_made.ready) with ordinality as t (id, n)
        cross join lateral (
            select x.queue, x.priority, x.kind from currant.executions as x where x.id = t.id limit 1
        ) as e
        order by t.n;
    end if;
    return row(_made.leases, _made.of_tasks, _made.of_children)::currant._started;
end
$$;

comment on function currant._start_children(currant._command[], uuid, text[], integer, timestamptz) is
'Creates the tasks and child workflows that the given commands ask for, in that order; those that name and declare no queue go to their workflow''s. Up to slots tasks in the given queues, those of the highest priority first, are leased to the worker at once. Errors: 22023, KR001.';

revoke all on function currant._start_children(currant._command[], uuid, text[], integer, timestamptz) from public;

commit;

-- Deploy currant:start_children to pg
-- requires: executions
-- requires: workflows
-- requires: ready
-- requires: delayed
-- requires: policy
-- requires: payload
-- requires: types
-- requires: leases

begin;

create or replace function currant._to_start(commands jsonb, is_keyed boolean, is_last boolean)
returns jsonb[]
language plpgsql
immutable
set search_path = pg_catalog, pg_temp
as $$
declare
    _cancelled jsonb[] := array(
        select c.value -> 'number' from jsonb_array_elements(commands) as c (value) where c.value ->> 'kind' = 'cancel'
    );
begin
    return array(
        select c.value
        from jsonb_array_elements(commands) with ordinality as c (value, n)
        where
            c.value ->> 'kind' in ('task', 'child')
            and (c.value -> 'payload' -> 'options' ->> 'key' is not null and c.value ->> 'kind' = 'child') = is_keyed
            -- Created and cancelled in the same commit: both are in the history, and nothing is run.
            and c.value -> 'number' <> all (_cancelled)
            and (not is_last or c.value -> 'payload' -> 'options' ->> 'on_parent_end' = 'abandon')
        order by c.n
    );
end
$$;

comment on function currant._to_start(jsonb, boolean, boolean) is
'Those of a commit''s commands that ask for tasks and child workflows that are to be made, with or without an idempotency key: what the same commit cancels is not, and of a run''s last commit only what is to outlive it.';

revoke all on function currant._to_start(jsonb, boolean, boolean) from public;

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
create or replace function currant._resolve_children(children currant._command[])
returns table (place bigint, child currant._command, policy currant._policy, root_id uuid)
language plpgsql
stable
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_mergejoin = off
set plan_cache_mode = force_generic_plan
set jit = off
as $$
declare
    _arguments bigint;
    _options bigint;
begin
    select max(pg_column_size(c.payload -> 'args')), max(pg_column_size(c.payload -> 'options'))
    into _arguments, _options
    from unnest(children) as c;
    perform currant._check_size('arguments', _arguments);
    perform currant._check_size('options', _options);

    return query
    with wanted as materialized (
        select
            row_number() over () as place, c as child,
            coalesce(nullif(c.payload -> 'options', 'null'), '{}') as options,
            p.queue, p.root_id
        from unnest(children) as c
        cross join lateral (
            select e.queue, e.root_id from currant.executions as e where e.id = c.workflow_id limit 1
        ) as p
    ),
    resolved as materialized (
        select
            d.kind, d.name, d.options, d.queue,
            currant._policy_of_child(d.kind, d.name, d.options, d.queue) as policy
        from (
            select distinct (w.child).kind, (w.child).name, w.options, w.queue
            from wanted as w
        ) as d
    )
    select w.place, w.child, r.policy, w.root_id
    from wanted as w
    join resolved as r
        on r.kind = (w.child).kind and r.name is not distinct from (w.child).name
        and r.options = w.options and r.queue = w.queue;
end
$$;

comment on function currant._resolve_children(currant._command[]) is
'Commands that ask for tasks and child workflows, in the order given, with what each is to be run with; those that name and declare no queue go to their workflow''s. Errors: 22023, KR001, KR005.';

revoke all on function currant._resolve_children(currant._command[]) from public;

create or replace function currant._start_children(
    children currant._command[],
    worker uuid,
    queues text[],
    slots integer,
    at timestamptz
)
returns currant.leases[]
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set plan_cache_mode = force_generic_plan
set jit = off
as $$
declare
    _leased currant.leases[];
begin
    with resolved as materialized (
        select
            r.place, (r.child).*, (r.policy).version, (r.policy).queue, (r.policy).priority,
            (r.policy).max_attempts, (r.policy).timeout, (r.policy).retry_delay, (r.policy).retry_backoff,
            (r.policy).retry_max_delay, (r.policy).headers, (r.policy).due_at,
            r.root_id, ((r.child).payload ->> 'id')::uuid as id, (r.child).kind = 'child' as is_workflow,
            coalesce((r.policy).due_at > _start_children.at, false) as is_later
        from currant._resolve_children(children) as r
        order by r.place
    ),
    wanted as materialized (
        select
            r.*,
            not r.is_workflow and not r.is_later and r.queue = any (_start_children.queues)
            and row_number() over (
                order by r.is_workflow or r.is_later or r.queue <> all (_start_children.queues), r.place
            ) <= _start_children.slots as is_direct
        from resolved as r
    ),
    created as (
        insert into currant.executions (
            id, kind, function, version, queue, priority, args, max_attempts, timeout,
            retry_delay, retry_backoff, retry_max_delay, parent_id, command_number, root_id, key, headers, created_at,
            on_parent_end
        )
        select
            w.id, case when w.is_workflow then 'workflow' else 'task' end, w.name, w.version, w.queue, w.priority,
            coalesce(w.payload -> 'args', '{}'), w.max_attempts, w.timeout, w.retry_delay, w.retry_backoff,
            w.retry_max_delay, w.workflow_id, w.number, w.root_id, w.payload -> 'options' ->> 'key', w.headers,
            _start_children.at, coalesce(w.payload -> 'options' ->> 'on_parent_end', 'cancel')
        from wanted as w
        order by w.place
    ),
    begun as (
        insert into currant.workflows (execution_id, queue, rank, timeout, version, last_at)
        select w.id, w.queue, -2 * w.priority, w.timeout, w.version, _start_children.at
        from wanted as w
        where w.is_workflow
    ),
    later as (
        insert into currant.delayed (execution_id, kind, due_at)
        select w.id, 'start', w.due_at
        from wanted as w
        where w.is_later
    ),
    now as (
        insert into currant.ready (execution_id, queue, rank, attempt, is_workflow)
        select w.id, w.queue, -2 * w.priority, 1, w.is_workflow
        from wanted as w
        where not w.is_later and not w.is_direct
        order by w.place
    ),
    leased as (
        insert into currant.leases as l (
            execution_id, worker_id, attempt, is_workflow, parent_id, command_number, claimed_at, deadline_at
        )
        select
            w.id, _start_children.worker, 1, false, w.workflow_id, w.number, _start_children.at,
            _start_children.at + w.timeout
        from wanted as w
        where w.is_direct
        order by w.place
        returning l as lease
    )
    select coalesce(array_agg(l.lease), '{}') into _leased from leased as l;
    return _leased;
end
$$;

comment on function currant._start_children(currant._command[], uuid, text[], integer, timestamptz) is
'Creates the tasks and child workflows that the given commands ask for, in that order. Up to slots tasks in the given queues are leased to the worker at once; returns these leases. Errors: 22023, KR001, KR005.';

revoke all on function currant._start_children(currant._command[], uuid, text[], integer, timestamptz) from public;

commit;

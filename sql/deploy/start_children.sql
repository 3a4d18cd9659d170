-- Deploy currant:start_children to pg
-- requires: executions
-- requires: workflows
-- requires: ready
-- requires: delayed
-- requires: policy
-- requires: payload

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

create or replace function currant._start_children(
    workflow_id uuid,
    root_id uuid,
    queue text,
    commands jsonb[],
    at timestamptz
)
returns integer[]
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    _arguments bigint;
    _options bigint;
    _started integer[];
begin
    if commands = '{}' then
        return array[0, 0];
    end if;
    select max(pg_column_size(c.value -> 'payload' -> 'args')), max(pg_column_size(c.value -> 'payload' -> 'options'))
    into _arguments, _options
    from unnest(commands) as c (value);
    perform currant._check_size('arguments', _arguments);
    perform currant._check_size('options', _options);
    perform currant._check_options(
        coalesce(c.value -> 'payload' -> 'options', '{}'),
        currant._enqueue_options(
            case
                when c.value ->> 'kind' = 'child' then array['key', 'key_scope', 'on_parent_end']
                else array[]::text[]
            end
        )
    )
    from unnest(commands) as c (value);

    with wanted as materialized (
        select
            (c.value ->> 'number')::integer as number,
            case when c.value ->> 'kind' = 'child' then 'workflow' else 'task' end as kind,
            c.value ->> 'name' as function,
            (c.value -> 'payload' ->> 'id')::uuid as id,
            coalesce(c.value -> 'payload' -> 'args', '{}') as args,
            c.value -> 'payload' -> 'options' ->> 'key' as key,
            coalesce(c.value -> 'payload' -> 'options' ->> 'on_parent_end', 'cancel') as on_parent_end,
            currant._policy(
                c.value ->> 'name',
                case
                    when c.value ->> 'kind' = 'child'
                        then coalesce(c.value -> 'payload' -> 'options', '{}') || '{"kind": "workflow"}'
                    else coalesce(c.value -> 'payload' -> 'options', '{}')
                end,
                _start_children.queue
            ) as policy
        from unnest(commands) as c (value)
    ),
    created as (
        insert into currant.executions (
            id, kind, function, version, queue, priority, args, max_attempts, timeout,
            retry_delay, retry_backoff, retry_max_delay, parent_id, command_number, root_id, key, headers, created_at,
            on_parent_end
        )
        select
            w.id, w.kind, w.function, (w.policy).version, (w.policy).queue, (w.policy).priority, w.args,
            (w.policy).max_attempts, (w.policy).timeout, (w.policy).retry_delay, (w.policy).retry_backoff,
            (w.policy).retry_max_delay, _start_children.workflow_id, w.number, _start_children.root_id,
            w.key, (w.policy).headers, _start_children.at, w.on_parent_end
        from wanted as w
        order by w.number
    ),
    begun as (
        insert into currant.workflows (execution_id, queue, rank, timeout, version, last_at)
        select
            w.id, (w.policy).queue, -2 * (w.policy).priority, (w.policy).timeout, (w.policy).version,
            _start_children.at
        from wanted as w
        where w.kind = 'workflow'
    ),
    later as (
        insert into currant.delayed (execution_id, kind, due_at)
        select w.id, 'start', (w.policy).due_at
        from wanted as w
        where (w.policy).due_at > _start_children.at
    ),
    now as (
        insert into currant.ready (execution_id, queue, rank, attempt, is_workflow)
        select w.id, (w.policy).queue, -2 * (w.policy).priority, 1, w.kind = 'workflow'
        from wanted as w
        where (w.policy).due_at is null or (w.policy).due_at <= _start_children.at
        order by w.number
    )
    select array[count(*) filter (where w.kind = 'task'), count(*) filter (where w.kind = 'workflow')] into _started
    from wanted as w;
    return _started;
end
$$;

comment on function currant._start_children(uuid, uuid, text, jsonb[], timestamptz) is
'Creates the tasks and child workflows that the given commands of a workflow ask for, in the order of their numbers; those that name and declare no queue go to the given one, the workflow''s. Returns how many tasks and how many workflows.';

revoke all on function currant._start_children(uuid, uuid, text, jsonb[], timestamptz) from public;

commit;

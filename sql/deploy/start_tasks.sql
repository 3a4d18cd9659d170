-- Deploy currant:start_tasks to pg
-- requires: executions
-- requires: ready
-- requires: delayed
-- requires: policy
-- requires: payload

begin;

create or replace function currant._start_tasks(
    workflow_id uuid,
    root_id uuid,
    queue text,
    commands jsonb,
    at timestamptz
)
returns integer
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    _bytes bigint;
    _started integer;
    _cancelled integer[] := array(
        select (x.value ->> 'number')::integer
        from jsonb_array_elements(commands) as x (value)
        where x.value ->> 'kind' = 'cancel'
    );
begin
    select max(pg_column_size(c.value -> 'payload' -> 'args')) into _bytes
    from jsonb_array_elements(commands) as c (value)
    where c.value ->> 'kind' = 'task';
    perform currant._check_size('arguments', _bytes);
    select max(pg_column_size(c.value -> 'payload' -> 'options')) into _bytes
    from jsonb_array_elements(commands) as c (value)
    where c.value ->> 'kind' = 'task';
    perform currant._check_size('options', _bytes);
    perform currant._check_options(
        coalesce(c.value -> 'payload' -> 'options', '{}'), currant._enqueue_options(array[]::text[])
    )
    from jsonb_array_elements(commands) as c (value)
    where c.value ->> 'kind' = 'task';

    with wanted as materialized (
        select
            (c.value ->> 'number')::integer as number,
            c.value ->> 'name' as function,
            (c.value -> 'payload' ->> 'id')::uuid as id,
            coalesce(c.value -> 'payload' -> 'args', '{}') as args,
            currant._policy(
                c.value ->> 'name', coalesce(c.value -> 'payload' -> 'options', '{}'), _start_tasks.queue
            ) as policy
        from jsonb_array_elements(commands) as c (value)
        where
            c.value ->> 'kind' = 'task'
            -- Created and cancelled in the same commit: both are in the history, and nothing is run.
            and (c.value ->> 'number')::integer <> all (_cancelled)
    ),
    created as (
        insert into currant.executions (
            id, kind, function, version, queue, priority, args, max_attempts, timeout,
            retry_delay, retry_backoff, retry_max_delay, parent_id, command_number, root_id, headers, created_at
        )
        select
            w.id, 'task', w.function, (w.policy).version, (w.policy).queue, (w.policy).priority, w.args,
            (w.policy).max_attempts, (w.policy).timeout, (w.policy).retry_delay, (w.policy).retry_backoff,
            (w.policy).retry_max_delay, _start_tasks.workflow_id, w.number, _start_tasks.root_id,
            (w.policy).headers, _start_tasks.at
        from wanted as w
        order by w.number
    ),
    later as (
        insert into currant.delayed (execution_id, kind, due_at)
        select w.id, 'start', (w.policy).due_at
        from wanted as w
        where (w.policy).due_at > _start_tasks.at
    ),
    now as (
        insert into currant.ready (execution_id, queue, rank, attempt, is_workflow)
        select w.id, (w.policy).queue, -2 * (w.policy).priority, 1, false
        from wanted as w
        where (w.policy).due_at is null or (w.policy).due_at <= _start_tasks.at
        order by w.number
    )
    select count(*) into _started from wanted as w;
    return _started;
end
$$;

comment on function currant._start_tasks(uuid, uuid, text, jsonb, timestamptz) is
'Creates the tasks that a workflow''s commands ask for, in the order of their numbers; those that name and declare no queue go to the given one, the workflow''s. Returns how many.';

revoke all on function currant._start_tasks(uuid, uuid, text, jsonb, timestamptz) from public;

commit;

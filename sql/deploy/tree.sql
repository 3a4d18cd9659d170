-- Deploy currant:tree to pg
-- requires: execution_status
-- requires: not_found

begin;

-- The walk goes level by level and stops when it has enough; only then is the order that of a tree. So what is near the
-- top is listed first, however many tasks the first child has. Of too many children what is open and the newest are what
-- people look for in a workflow that has run for months.
create or replace function currant.tree(execution uuid, at_most integer default 1000)
returns table (
    depth integer,
    parent_id uuid,
    command_number integer,
    id uuid,
    kind text,
    function text,
    version integer,
    queue text,
    priority integer,
    status text,
    attempt integer,
    max_attempts integer,
    key text,
    root_id uuid,
    retry_of uuid,
    created_at timestamptz,
    started_at timestamptz,
    finished_at timestamptz,
    outcome text,
    due_at timestamptz,
    worker_id uuid,
    waits_for text,
    is_cancel_requested boolean,
    error_message text
)
language plpgsql
stable
security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
as $$
begin
    if at_most is null or at_most not between 1 and 1000000 then
        raise exception using
            errcode = '22023', message = 'at_most is not a number of rows',
            detail = format('at_most is %s', coalesce(at_most::text, 'null')), hint = 'give 1 to 1000000';
    end if;
    if not exists (select from currant.executions as e where e.id = tree.execution) then
        perform currant._raise_not_found(execution);
    end if;
    return query
    with recursive walk as (
        select e.id, 0 as depth, e.command_number, array[]::integer[] as path
        from currant.executions as e
        where e.id = tree.execution
        union all
        select c.id, w.depth + 1, c.command_number, w.path || c.command_number
        from walk as w
        cross join lateral (
            select e.id, e.command_number
            from currant.executions as e
            where e.parent_id = w.id
            order by
                exists (select from currant.outcomes as o where o.execution_id = e.id),
                e.command_number desc
            limit tree.at_most
        ) as c
    ),
    found as materialized (
        select w.id, w.depth, w.command_number, w.path from walk as w limit tree.at_most
    )
    select
        f.depth, s.parent_id, f.command_number, s.id, s.kind, s.function, s.version, s.queue, s.priority, s.status,
        s.attempt, s.max_attempts, s.key, s.root_id, s.retry_of, s.created_at, s.started_at, s.finished_at, s.outcome,
        s.due_at, s.worker_id, s.waits_for, s.is_cancel_requested, s.error_message
    from found as f
    join currant.execution_status as s on s.id = f.id
    order by f.path;
end
$$;

comment on function currant.tree(uuid, integer) is
'An execution and the tasks and workflows under it, each followed by what is under it in the order of command numbers: its depth, and what execution_status says of it. If there are more than at_most, those nearest to the top, and of these what is open and the newest. What a workflow queued to run on its own, or only attached to, is not under it. Errors: KR004, 22023.';

revoke all on function currant.tree(uuid, integer) from public;
grant execute on function currant.tree(uuid, integer)
to currant_client, currant_worker, currant_observer, currant_admin;

commit;

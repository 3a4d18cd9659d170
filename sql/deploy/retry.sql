-- Deploy currant:retry to pg
-- requires: executions
-- requires: outcomes
-- requires: enqueue_many
-- requires: not_found

begin;

create or replace function currant.retry(execution uuid, options jsonb default '{}')
returns uuid
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    _now timestamptz := currant._now();
    _id uuid;
    _kind text;
    _status text;
    _parent_id uuid;
begin
    perform currant._check_options(options, array['id']);
    select e.kind, e.parent_id, o.status into _kind, _parent_id, _status
    from currant.executions as e
    left join currant.outcomes as o on o.execution_id = e.id
    where e.id = retry.execution;
    if _kind is null then
        perform currant._raise_not_found(execution);
    elsif _status is null then
        raise exception using
            errcode = 'KR006', message = 'execution has not ended yet', detail = format('execution %s', execution),
            hint = 'only what has failed or was cancelled can be retried; cancel it first';
    elsif _status = 'completed' then
        raise exception using
            errcode = 'KR003', message = 'execution has completed', detail = format('execution %s', execution),
            hint = 'only what has failed or was cancelled can be retried; enqueue it anew';
    elsif _parent_id is not null and _kind = 'task' then
        raise exception using
            errcode = '22023', message = 'a task of a workflow is not retried alone',
            detail = format('execution %s belongs to workflow %s', execution, _parent_id),
            hint = 'retry the workflow';
    elsif _parent_id is not null
        and not exists (select from currant.outcomes as o where o.execution_id = _parent_id)
    then
        raise exception using
            errcode = '22023', message = 'a child of an open workflow is not retried alone',
            detail = format('execution %s belongs to workflow %s', execution, _parent_id),
            hint = 'its workflow has been told how it ended and may run another; once that has ended, either can be retried';
    end if;

    insert into currant.executions as n (
        id, kind, function, version, queue, priority, args, max_attempts, timeout,
        retry_delay, retry_backoff, retry_max_delay, root_id, retry_of, key, headers, created_at
    )
    select
        t.id, e.kind, e.function, e.version, e.queue, e.priority, e.args, e.max_attempts, e.timeout,
        e.retry_delay, e.retry_backoff, e.retry_max_delay, t.id, e.id, e.key, e.headers, _now
    from currant.executions as e
    cross join (select coalesce((options ->> 'id')::uuid, currant._uuid7()) as id) as t
    where e.id = retry.execution
    on conflict do nothing
    returning n.id into _id;
    if not found then
        select e.id into _id from currant.executions as e where e.retry_of = retry.execution;
        if not found then
            raise exception using
                errcode = '22023', message = 'option id is taken by another execution',
                detail = format('id %s', options ->> 'id'), hint = 'give an id that is not in use';
        end if;
        return _id;
    end if;

    perform pg_advisory_xact_lock_shared(1262506571, currant._key_bucket(e.function, e.key))
    from currant.executions as e
    where e.id = retry.execution and e.key is not null;
    update currant.keys as k
    set execution_id = _id
    from currant.executions as e
    where
        e.id = retry.execution and k.function = e.function and k.key = e.key
        and k.execution_id = retry.execution;
    insert into currant.workflows (execution_id, queue, rank, timeout, version, last_at)
    select e.id, e.queue, -2 * e.priority, e.timeout, e.version, _now
    from currant.executions as e
    where e.id = _id and e.kind = 'workflow';
    insert into currant.ready (execution_id, queue, rank, attempt, is_workflow)
    select e.id, e.queue, 1 - 2 * e.priority, 1, e.kind = 'workflow'
    from currant.executions as e
    where e.id = _id;
    return _id;
end
$$;

comment on function currant.retry(uuid, jsonb) is
'Runs a failed or cancelled execution again: a new execution with the same function, arguments and options, linked to the old one; an idempotency key moves with it. A workflow begins anew, with its first arguments if it has continued as new; no signal of the old one is given to it. A task of a workflow is not retried alone, a child workflow only when its parent has ended, and then on its own. Option id (a UUID) for the new one. There is one retry of each execution: a second call returns the same id. Errors: KR003 (it has completed), KR004, KR006 (it has not ended), 22023.';

revoke all on function currant.retry(uuid, jsonb) from public;
grant execute on function currant.retry(uuid, jsonb) to currant_client, currant_admin;

commit;

-- Deploy currant:request_cancel to pg
-- requires: end_workflow
-- requires: executions
-- requires: outcomes
-- requires: workflows
-- requires: leases
-- requires: cancels
-- requires: inbox
-- requires: ready

begin;

create or replace function currant._is_idle(workflow_id uuid)
returns boolean
language sql
stable
set search_path = pg_catalog, pg_temp
begin atomic
    select exists (
        select from currant.workflows as w
        where
            w.execution_id = _is_idle.workflow_id
            and (w.last_event = 0 or w.blocked_reason is not null)
            and not exists (select from currant.leases as l where l.execution_id = w.execution_id)
    );
end;

comment on function currant._is_idle(uuid) is
'Whether a workflow is open, but has not begun or is blocked, and nobody runs it.';

revoke all on function currant._is_idle(uuid) from public;

-- A workflow that has not begun, or is blocked, has nobody to ask. Its row must not stay locked until the caller commits
-- if it is something else after all, so it is read first, and undoing the block frees a lock taken in vain.
create or replace function currant._end_idle(execution uuid, reason text, at timestamptz)
returns boolean
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    if not currant._is_idle(execution) then
        return false;
    end if;
    begin
        perform from currant.workflows as w where w.execution_id = _end_idle.execution for update skip locked;
        if found and currant._is_idle(execution) then
            perform currant._end_alone(
                array[row(execution, 'cancelled', null, currant._cancelled_error(reason), null)::currant._end], null, at
            );
            return true;
        end if;
        raise exception using errcode = 'KR099', message = 'not idle any more';
    exception when sqlstate 'KR099' then
        return false;
    end;
end
$$;

comment on function currant._end_idle(uuid, text, timestamptz) is
'Ends a workflow as cancelled, if it has not begun or is blocked and nobody has it locked; what is under it is the caller''s. Returns whether it did.';

revoke all on function currant._end_idle(uuid, text, timestamptz) from public;

create or replace function currant._ask_to_end(execution uuid, reason text, at timestamptz)
returns void
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    if exists (select from currant.cancels as c where c.execution_id = _ask_to_end.execution) then
        return;
    end if;
    with open as (
        select w.execution_id, w.queue, w.rank
        from currant.workflows as w
        where w.execution_id = _ask_to_end.execution
    ),
    requested as (
        insert into currant.cancels (execution_id, reason, requested_at)
        select o.execution_id, _ask_to_end.reason, _ask_to_end.at
        from open as o
    ),
    told as (
        insert into currant.inbox (workflow_id, kind, payload, arrived_at)
        select
            o.execution_id, 'cancel_requested', jsonb_build_object('reason', _ask_to_end.reason), _ask_to_end.at
        from open as o
    )
    insert into currant.ready (execution_id, queue, rank, attempt, is_workflow)
    select o.execution_id, o.queue, o.rank, 0, true
    from open as o;
end
$$;

comment on function currant._ask_to_end(uuid, text, timestamptz) is
'Gives an open workflow the request to end as an event, unless it was asked before.';

revoke all on function currant._ask_to_end(uuid, text, timestamptz) from public;

create or replace function currant._request_cancel(execution uuid, reason text, at timestamptz)
returns text
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    _kind text;
    _status text;
begin
    select e.kind, o.status into _kind, _status
    from currant.executions as e
    left join currant.outcomes as o on o.execution_id = e.id
    where e.id = _request_cancel.execution;
    if _kind is null or _status is not null then
        return _status;
    elsif _kind = 'task' then
        return currant._cancel_task(execution, reason, at);
    elsif currant._end_idle(execution, reason, at) then
        perform currant._cancel_children(array[execution], 1, 'the workflow has ended', at);
        return 'cancelled';
    end if;
    perform currant._ask_to_end(execution, reason, at);
    return null;
end
$$;

comment on function currant._request_cancel(uuid, text, timestamptz) is
'Asks for the cancellation of a task or workflow; one that nobody runs and that has nobody to ask ends at once. Returns the status if it has ended or is a task, null if a workflow was asked or there is no such execution. Waits for nobody.';

revoke all on function currant._request_cancel(uuid, text, timestamptz) from public;

commit;

-- Deploy currant:cancel to pg
-- requires: end_workflow
-- requires: execution_status
-- requires: enter_worker
-- requires: not_found

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

create or replace function currant.cancel(execution uuid, reason text default null)
returns text
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    _now timestamptz := currant._now();
    _kind text;
    _status text;
begin
    perform currant._require_read_committed();
    perform currant._check_size('reason', octet_length(reason));
    select e.kind, o.status into _kind, _status
    from currant.executions as e
    left join currant.outcomes as o on o.execution_id = e.id
    where e.id = cancel.execution;
    if _kind is null then
        perform currant._raise_not_found(execution);
    end if;
    if _status is not null then
        return _status;
    end if;
    if _kind = 'task' then
        return currant._cancel_task(execution, reason, _now);
    end if;

    -- A workflow that has not begun, or is blocked, has nobody to ask: it ends here. Otherwise its row must not stay
    -- locked until the caller commits, so it is read first, and undoing the block frees a lock taken in vain.
    if currant._is_idle(execution) then
        begin
            perform from currant.workflows as w where w.execution_id = cancel.execution for update skip locked;
            if found and currant._is_idle(execution) then
                perform currant._end_workflow(
                    execution, 'cancelled', null, currant._cancelled_error(reason), null, null, _now
                );
                return 'cancelled';
            end if;
            raise exception using errcode = 'KR099', message = 'not idle any more';
        exception when sqlstate 'KR099' then
            null;
        end;
    end if;

    if not exists (select from currant.cancels as c where c.execution_id = cancel.execution) then
        with open as (
            select w.execution_id, w.queue, w.rank
            from currant.workflows as w
            where w.execution_id = cancel.execution
        ),
        requested as (
            insert into currant.cancels (execution_id, reason, requested_at)
            select o.execution_id, cancel.reason, _now
            from open as o
        ),
        told as (
            insert into currant.inbox (workflow_id, kind, payload, arrived_at)
            select o.execution_id, 'cancel_requested', jsonb_build_object('reason', cancel.reason), _now
            from open as o
        )
        insert into currant.ready (execution_id, queue, rank, attempt, is_workflow)
        select o.execution_id, o.queue, o.rank, 0, true
        from open as o;
    end if;
    return coalesce((select s.status from currant.execution_status as s where s.id = cancel.execution), 'suspended');
end
$$;

comment on function currant.cancel(uuid, text) is
'Asks for the cancellation of an execution, with a reason for people. A task that is not running, and a workflow that has not begun or is blocked, end as cancelled at once. A running task''s worker is told within its heartbeat interval, mostly at once, and the task ends as cancelled unless it completes first; a workflow that has begun gets the request as its next event. Returns the status afterwards: cancelled, running, suspended, blocked, pending, or how it ended before. What has ended does not change. May be repeated. Errors: KR004, KR005, KR008.';

revoke all on function currant.cancel(uuid, text) from public;
grant execute on function currant.cancel(uuid, text) to currant_client, currant_admin;

commit;

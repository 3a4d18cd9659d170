-- Deploy currant:force_cancel to pg
-- requires: request_cancel
-- requires: end_execution
-- requires: delayed

begin;

-- What somebody has locked just now is left to the next tick, in ever longer steps; the number is one that nobody else
-- can be inserting, since that would have to be waited for.
create or replace function currant._force_later(execution uuid, reason text, attempt integer, at timestamptz)
returns void
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    perform currant._note_cancel(execution, reason, at);
    insert into currant.delayed (execution_id, kind, number, due_at, attempt, reason)
    values (
        _force_later.execution, 'force',
        nextval(pg_get_serial_sequence('currant.cancels', 'id')) % 2147483647,
        _force_later.at + interval '50 milliseconds' * 2 ^ least(_force_later.attempt, 7),
        _force_later.attempt + 1, _force_later.reason
    );
end
$$;

comment on function currant._force_later(uuid, text, integer, timestamptz) is
'Has a forced cancellation tried again soon.';

revoke all on function currant._force_later(uuid, text, integer, timestamptz) from public;

create or replace function currant._force_task(execution uuid, reason text, attempt integer, at timestamptz)
returns void
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    _lease currant.leases;
begin
    if currant._cancel_task(execution, reason, at) in ('completed', 'failed', 'cancelled') then
        return;
    end if;
    delete from currant.leases as l
    where l.ctid = any (array(
        select x.ctid from currant.leases as x
        where x.execution_id = _force_task.execution
        for update skip locked
    ))
    returning
        l.execution_id, l.token, l.worker_id, l.attempt, l.is_workflow, l.parent_id, l.command_number,
        l.claimed_at, l.deadline_at
    into _lease;
    if not found then
        perform currant._force_later(execution, reason, attempt, at);
        return;
    end if;
    -- Its request is in cancels by now, so it ends as cancelled.
    perform currant._attempt_failed(
        execution, _lease.token, _lease.attempt, _lease.worker_id, _lease.claimed_at,
        jsonb_build_object('type', 'Cancelled', 'message', 'ended by force while it was running', 'enforced', true),
        null, at
    );
end
$$;

comment on function currant._force_task(uuid, text, integer, timestamptz) is
'Ends a task as cancelled whether or not it is running.';

revoke all on function currant._force_task(uuid, text, integer, timestamptz) from public;

-- A workflow's row is locked before its lease, as everywhere; whoever else takes the lease of a workflow has its row.
create or replace function currant._force_workflow(execution uuid, reason text, attempt integer, at timestamptz)
returns boolean
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    _worker uuid;
begin
    perform from currant.workflows as w where w.execution_id = _force_workflow.execution for update skip locked;
    if not found then
        if exists (select from currant.workflows as w where w.execution_id = _force_workflow.execution) then
            perform currant._force_later(execution, reason, attempt, at);
            return false;
        end if;
        return true;
    end if;
    delete from currant.leases as l
    where l.ctid = any (array(
        select x.ctid from currant.leases as x
        where x.execution_id = _force_workflow.execution
        for update skip locked
    ))
    returning l.worker_id into _worker;
    if found then
        perform pg_notify('currant_cancel', _worker::text);
    end if;
    perform currant._note_cancel(execution, reason, at);
    perform currant._end_workflow(
        execution, 'cancelled', currant._cancelled_error(reason), at
    );
    return true;
end
$$;

comment on function currant._force_workflow(uuid, text, integer, timestamptz) is
'Ends a workflow as cancelled whatever it is doing; false if somebody has it locked, then it is tried again later.';

revoke all on function currant._force_workflow(uuid, text, integer, timestamptz) from public;

-- From the top down, one level after the other: a parent that has ended starts nothing and is told nothing any more.
-- What is under a workflow that is locked just now waits for it, lest the workflow hear of it and act on it.
create or replace function currant._force_cancel(execution uuid, reason text, attempt integer, at timestamptz)
returns void
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set jit = off
as $$
declare
    _child record;
    _level uuid[] := array[execution];
    _ended uuid[];
    _reason text := reason;
begin
    -- If it ended by itself after it was asked for, what it left running is still to be ended.
    if attempt = 1 and exists (select from currant.outcomes as o where o.execution_id = _force_cancel.execution) then
        return;
    end if;
    loop
        _ended := array[]::uuid[];
        for _child in
            select e.id, e.kind
            from unnest(_level) as x (id)
            join currant.executions as e on e.id = x.id
            order by e.id
        loop
            if _child.kind = 'task' then
                perform currant._force_task(_child.id, _reason, attempt, at);
            elsif currant._force_workflow(_child.id, _reason, attempt, at) then
                _ended := _ended || _child.id;
            end if;
        end loop;
        -- Through workflows that have ended, too: a task of theirs may still be running.
        _level := array(
            select e.id
            from currant.executions as e
            where
                e.parent_id = any (_ended)
                and e.on_parent_end <> 'abandon'
                and (
                    e.kind = 'workflow'
                    or not exists (select from currant.outcomes as o where o.execution_id = e.id)
                )
        );
        exit when _level = '{}';
        _reason := 'the workflow has ended';
    end loop;
end
$$;

comment on function currant._force_cancel(uuid, text, integer, timestamptz) is
'Ends an execution as cancelled at once, and what is open under it, except what was to be abandoned. attempt says how often that was tried. What has ended does not change. Waits for nobody.';

revoke all on function currant._force_cancel(uuid, text, integer, timestamptz) from public;

commit;

-- Deploy currant:end_workflow to pg
-- requires: end_execution
-- requires: cancels
-- requires: delayed
-- requires: history

begin;

-- Not begun: the row that would start it is taken out and the execution ends here. Running: the request stays in
-- cancels, and the worker is told. In between it is found in none of the tables for a moment, or its row is locked
-- by a claim: it is looked for again, and in the end the request, which every path that re-queues reads, decides.
create or replace function currant._cancel_task(execution_id uuid, reason text, at timestamptz)
returns text
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    _attempt integer;
    _worker uuid;
    _status text;
begin
    select o.status into _status from currant.outcomes as o where o.execution_id = _cancel_task.execution_id;
    if found then
        return _status;
    end if;
    insert into currant.cancels (execution_id, reason, requested_at)
    select _cancel_task.execution_id, _cancel_task.reason, _cancel_task.at
    where not exists (select from currant.cancels as c where c.execution_id = _cancel_task.execution_id);

    for _i in 1 .. 3
    loop
        delete from currant.ready as r
        where r.ctid = any (array(
            select c.ctid from currant.ready as c
            where c.execution_id = _cancel_task.execution_id
            for update skip locked
        ))
        returning r.attempt into _attempt;
        if not found then
            delete from currant.delayed as d
            where d.ctid = any (array(
                select c.ctid from currant.delayed as c
                where c.execution_id = _cancel_task.execution_id
                for update skip locked
            ))
            returning d.attempt into _attempt;
        end if;
        if found then
            perform currant._end_unsuccessfully(
                execution_id, 'cancelled', currant._cancelled_error(reason), _attempt - 1, null, null, null, at
            );
            return 'cancelled';
        end if;

        select l.worker_id into _worker
        from currant.leases as l
        where l.execution_id = _cancel_task.execution_id;
        if found then
            perform pg_notify('currant_cancel', _worker::text);
            return 'running';
        end if;

        select o.status into _status from currant.outcomes as o where o.execution_id = _cancel_task.execution_id;
        if found then
            return _status;
        end if;
    end loop;
    return 'pending';
end
$$;

comment on function currant._cancel_task(uuid, text, timestamptz) is
'Cancels a task: ends it if it is not running, else leaves the request for its worker. Returns the status afterwards.';

revoke all on function currant._cancel_task(uuid, text, timestamptz) from public;

create or replace function currant._end_workflow(
    execution_id uuid,
    status text,
    result jsonb,
    error jsonb,
    token bigint,
    worker_id uuid,
    at timestamptz
)
returns void
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    _child uuid;
    _open_children integer;
    _started_at timestamptz;
begin
    delete from currant.workflows as w
    where w.execution_id = _end_workflow.execution_id
    returning w.open_children into _open_children;
    delete from currant.delayed as d
    where d.ctid = any (array(
        select c.ctid from currant.delayed as c
        where c.execution_id = _end_workflow.execution_id
        for update skip locked
    ));
    delete from currant.ready as r
    where r.ctid = any (array(
        select c.ctid from currant.ready as c
        where c.execution_id = _end_workflow.execution_id
        for update skip locked
    ));
    -- After ready: what arrives in between keeps its wake row, and the claim that meets it removes both.
    -- Signals that were never read stay, to be seen.
    delete from currant.inbox as i
    where i.workflow_id = _end_workflow.execution_id and i.kind <> 'signal_received';
    select h.at into _started_at
    from currant.history_entries as h
    where h.workflow_id = _end_workflow.execution_id and h.event = 1 and h.position = 0;

    insert into currant.outcomes (
        execution_id, status, result, error, attempt, token, worker_id, started_at, finished_at
    ) values (
        _end_workflow.execution_id, _end_workflow.status, _end_workflow.result, _end_workflow.error, 1,
        _end_workflow.token, _end_workflow.worker_id, _started_at, _end_workflow.at
    );

    if _open_children > 0 then
        for _child in
            select e.id
            from currant.executions as e
            where
                e.parent_id = _end_workflow.execution_id
                and not exists (select from currant.outcomes as o where o.execution_id = e.id)
            order by e.id
        loop
            perform currant._cancel_task(_child, 'the workflow has ended', at);
        end loop;
    end if;
end
$$;

comment on function currant._end_workflow(uuid, text, jsonb, jsonb, bigint, uuid, timestamptz) is
'Ends a workflow whose row the caller has locked, and cancels the tasks it still has open.';

revoke all on function currant._end_workflow(uuid, text, jsonb, jsonb, bigint, uuid, timestamptz) from public;

commit;

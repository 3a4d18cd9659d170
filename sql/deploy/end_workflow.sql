-- Deploy currant:end_workflow to pg
-- requires: end_execution
-- requires: cancels
-- requires: delayed
-- requires: history
-- requires: attach
-- requires: types

begin;

create or replace function currant._note_cancel(execution_id uuid, reason text, at timestamptz)
returns void
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    insert into currant.cancels (execution_id, reason, requested_at)
    select _note_cancel.execution_id, _note_cancel.reason, _note_cancel.at
    where not exists (select from currant.cancels as c where c.execution_id = _note_cancel.execution_id);
end
$$;

comment on function currant._note_cancel(uuid, text, timestamptz) is
'Notes that the cancellation of an execution was asked for, unless that is noted already.';

revoke all on function currant._note_cancel(uuid, text, timestamptz) from public;

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
    perform currant._note_cancel(execution_id, reason, at);

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
                where c.execution_id = _cancel_task.execution_id and c.kind in ('start', 'retry', 'release')
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

create or replace function currant._end_alone(ends currant._end[], worker_id uuid, at timestamptz)
returns table (execution_id uuid, first_open integer)
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
    _gone currant.workflows[];
    _ids uuid[];
    _attached uuid;
begin
    with gone as (
        delete from currant.workflows as w
        where w.ctid = any (array(
            select x.place
            from unnest(ends) as n
            cross join lateral (
                select y.ctid as place from currant.workflows as y where y.execution_id = n.execution_id limit 1
            ) as x
        ))
        returning w as workflow
    )
    select array_agg(g.workflow) into _gone from gone as g;
    -- A caller that ends several may meet one that has ended with its parent.
    if _gone is null then
        return;
    end if;
    _ids := array(select g.execution_id from unnest(_gone) as g);

    delete from currant.delayed as d
    where d.ctid = any (array(
        select c.ctid from currant.delayed as c
        -- Of an end by force that met a lock, what is under the workflow is still to come.
        where c.execution_id = any (_ids) and c.kind <> 'force'
        for update skip locked
    ));
    for _attached in select g.execution_id from unnest(_gone) as g where g.has_attached
    loop
        perform currant._detach(_attached, null);
    end loop;
    delete from currant.ready as r
    where r.ctid = any (array(
        select c.ctid from currant.ready as c
        where c.execution_id = any (_ids)
        for update skip locked
    ));
    -- After ready: what arrives in between keeps its wake row, and the claim that meets it removes both.
    -- Signals that were never read stay, to be seen.
    delete from currant.inbox as i
    where i.workflow_id = any (_ids) and i.kind <> 'signal_received';
    -- Those that would have started the workflow may be given to a new one, by the claim that meets this wake row.
    insert into currant.ready (execution_id, queue, rank, attempt, is_workflow)
    select g.execution_id, g.queue, g.rank, 0, true
    from unnest(_gone) as g
    where (
        select true from currant.inbox as i
        where i.workflow_id = g.execution_id and i.restart is not null
        limit 1
    );

    insert into currant.outcomes (
        execution_id, status, result, error, attempt, token, worker_id, started_at, finished_at
    )
    select
        n.execution_id, n.status, n.result, n.error, 1, n.token, _end_alone.worker_id,
        (
            select h.at from currant.history_entries as h
            where h.workflow_id = n.execution_id and h.event = 1 and h.position = 0
        ),
        _end_alone.at
    from unnest(ends) as n
    where n.execution_id = any (_ids)
    order by n.execution_id;
    -- Looked up one by one, or a plan may read the index of all that ever had a parent.
    perform currant._tell_end(e.parent_id, e.command_number, u.id, 'child', _end_alone.at)
    from unnest(_ids) as u (id)
    cross join lateral (
        select x.parent_id, x.command_number from currant.executions as x where x.id = u.id limit 1
    ) as e
    where e.parent_id is not null;

    return query
    select g.execution_id, g.first_command
    from unnest(_gone) as g
    where g.open_tasks + g.open_children > 0;
end
$$;

comment on function currant._end_alone(currant._end[], uuid, timestamptz) is
'Ends workflows whose rows the caller has locked, and tells their parents. One that has ended before is left alone. Returns those whose commands may have tasks or children open, and the number from which on.';

revoke all on function currant._end_alone(currant._end[], uuid, timestamptz) from public;

-- One generation after the other, since the server's stack would not hold many. A child that is running, or that
-- somebody has locked just now, is asked, and ends its own when it ends. The functions that end or ask are created
-- later, because one of them calls _end_alone: their names are looked up at run time.
create or replace function currant._cancel_children(
    parents uuid[],
    first_command integer,
    reason text,
    at timestamptz
)
returns void
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
as $$
declare
    _child record;
    _parents uuid[] := parents;
    _first_command integer := first_command;
    _ended uuid[];
    _reason text := reason;
begin
    while _parents <> '{}'
    loop
        _ended := array[]::uuid[];
        for _child in
            select e.id, e.kind
            from currant.executions as e
            where
                e.parent_id = any (_parents)
                and e.command_number >= _first_command
                and e.on_parent_end = 'cancel'
                and not exists (select from currant.outcomes as o where o.execution_id = e.id)
            order by e.parent_id, e.command_number
        loop
            if _child.kind = 'task' then
                perform currant._cancel_task(_child.id, _reason, at);
            elsif currant._end_idle(_child.id, _reason, at) then
                _ended := _ended || _child.id;
            else
                perform currant._ask_to_end(_child.id, _reason, at);
            end if;
        end loop;
        _parents := _ended;
        _first_command := 1;
        _reason := 'the workflow has ended';
    end loop;
end
$$;

comment on function currant._cancel_children(uuid[], integer, text, timestamptz) is
'Cancels the open tasks and child workflows of workflows, from that command number on, except those that are to outlive them; also all those of the children that end by it.';

revoke all on function currant._cancel_children(uuid[], integer, text, timestamptz) from public;

create or replace function currant._end_workflows(ends currant._end[], worker_id uuid, at timestamptz)
returns void
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    perform currant._cancel_children(array[o.execution_id], o.first_open, 'the workflow has ended', at)
    from currant._end_alone(ends, worker_id, at) as o;
end
$$;

comment on function currant._end_workflows(currant._end[], uuid, timestamptz) is
'Ends workflows whose rows the caller has locked, tells their parents, and cancels what they still have open, except what is to outlive them. One that has ended before is left alone.';

revoke all on function currant._end_workflows(currant._end[], uuid, timestamptz) from public;

create or replace function currant._end_workflow(execution_id uuid, status text, error jsonb, at timestamptz)
returns void
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    perform currant._end_workflows(array[row(execution_id, status, null, error, null)::currant._end], null, at);
end
$$;

comment on function currant._end_workflow(uuid, text, jsonb, timestamptz) is
'Ends one workflow, whose row the caller has locked, for a reason that is not its own.';

revoke all on function currant._end_workflow(uuid, text, jsonb, timestamptz) from public;

commit;

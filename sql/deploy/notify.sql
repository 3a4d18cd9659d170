-- Deploy currant:notify to pg
-- requires: ready
-- requires: delayed
-- requires: workers
-- requires: outcomes
-- requires: watchers
-- requires: inbox
-- requires: workflows
-- requires: now

begin;

-- A transaction that notifies holds a database-wide lock while it commits, so nobody is notified who is not asleep.
-- What is missed between a worker's last claim and its declaration's commit is found by its poll.
create or replace function currant._notify_ready()
returns trigger
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
declare
    _now timestamptz := currant._now();
begin
    if not exists (select from currant.workers as w where w.waiting_until > _now) then
        return null;
    end if;
    perform pg_notify('currant_ready', q.queue)
    from (select distinct n.queue from new_rows as n) as q
    where exists (
        select from currant.workers as w where w.waiting_until > _now and q.queue = any (w.queues)
    );
    return null;
end
$$;

comment on function currant._notify_ready() is
'Trigger on ready: notifies currant_ready with the name of each queue that got work and that a sleeping worker waits on.';

revoke all on function currant._notify_ready() from public;

create trigger ready_notify
after insert on currant.ready
referencing new table as new_rows
for each statement execute function currant._notify_ready();

create or replace function currant._notify_delayed()
returns trigger
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
declare
    _now timestamptz := currant._now();
begin
    if exists (
        select from currant.workers as w
        where w.waiting_until > _now and w.waiting_until > (select min(n.due_at) from new_rows as n)
    ) then
        perform pg_notify('currant_ready', '');
    end if;
    return null;
end
$$;

comment on function currant._notify_delayed() is
'Trigger on delayed: notifies currant_ready with an empty payload if something becomes due before a sleeping worker would look again.';

revoke all on function currant._notify_delayed() from public;

create trigger delayed_notify
after insert on currant.delayed
referencing new table as new_rows
for each statement execute function currant._notify_delayed();

create or replace function currant._notify_ended()
returns trigger
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
as $$
declare
    _now timestamptz := currant._now();
    _watched uuid[];
begin
    -- A scalar sub-select is always one probe of the index; exists would be planned as a join over all of it, which
    -- under a vacuum that is held back is mostly dead.
    select array_agg(n.execution_id) into _watched
    from new_rows as n
    where (select true from currant.watchers as w where w.execution_id = n.execution_id limit 1);
    if _watched is null then
        return null;
    end if;

    -- "offset 0" keeps the condition on workflow_id from choosing an index that has it and not the execution.
    perform pg_notify('currant_ended', u.id::text)
    from unnest(_watched) as u (id)
    where (
        select true
        from (select x.workflow_id from currant.watchers as x where x.execution_id = u.id offset 0) as w
        where w.workflow_id is null
        limit 1
    );
    if not exists (
        select
        from unnest(_watched) as u (id)
        cross join lateral (
            select x.workflow_id from currant.watchers as x where x.execution_id = u.id offset 0
        ) as w
        where w.workflow_id is not null
    ) then
        return null;
    end if;
    -- Told without a lock on the row: whoever holds it to take the attachment back may still be undone, and an event
    -- that comes too late is ignored.
    with attached as (
        select
            w.execution_id, w.queue, w.rank, x.number, n.execution_id as child_id,
            'attached' || case when n.status = 'completed' then '_completed' else '_failed' end as kind,
            n.error || jsonb_build_object('status', n.status, 'attempts', n.attempt) as payload
        from new_rows as n
        cross join lateral (
            select y.workflow_id, y.number from currant.watchers as y where y.execution_id = n.execution_id offset 0
        ) as x
        cross join lateral (
            select y.execution_id, y.queue, y.rank
            from currant.workflows as y
            where y.execution_id = x.workflow_id
            limit 1
        ) as w
        where n.execution_id = any (_watched) and x.workflow_id is not null
    ),
    told as (
        insert into currant.inbox (workflow_id, kind, number, payload, child_id, arrived_at)
        select a.execution_id, a.kind, a.number, a.payload, a.child_id, _now
        from attached as a
        order by a.execution_id, a.number
    )
    insert into currant.ready (execution_id, queue, rank, attempt, is_workflow)
    select distinct a.execution_id, a.queue, a.rank, 0, true
    from attached as a;
    delete from currant.watchers as w
    where w.ctid = any (array(
        select x.ctid
        from unnest(_watched) as u (id)
        cross join lateral (
            select y.ctid, y.workflow_id from currant.watchers as y where y.execution_id = u.id offset 0
        ) as w
        join currant.watchers as x on x.ctid = w.ctid
        where w.workflow_id is not null
        for update of x skip locked
    ));
    return null;
end
$$;

comment on function currant._notify_ended() is
'Trigger on outcomes: notifies currant_ended with the id of each execution whose end somebody watches, and tells the workflows that have attached to it.';

revoke all on function currant._notify_ended() from public;

create trigger outcomes_notify
after insert on currant.outcomes
referencing new table as new_rows
for each statement execute function currant._notify_ended();

commit;

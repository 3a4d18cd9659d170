-- Deploy currant:execution_status to pg
-- requires: executions
-- requires: outcomes
-- requires: leases
-- requires: ready
-- requires: delayed
-- requires: workflows
-- requires: cancels
-- requires: inbox
-- requires: attempts
-- requires: history
-- requires: watchers
-- requires: roles

begin;

-- One statement, so one snapshot: read piece by piece, an execution that moves could be seen in none of the tables.
create view currant.execution_status as
select
    e.id,
    e.kind,
    e.function,
    e.version,
    e.queue,
    e.priority,
    case
        when o.status is not null then o.status
        when l.token is not null then 'running'
        when w.blocked_reason is not null then 'blocked'
        when w.last_event > 0 then 'suspended'
        else 'pending'
    end as status,
    coalesce(o.attempt, l.attempt, nullif(r.attempt, 0), d.attempt, 1) as attempt,
    e.max_attempts,
    e.key,
    e.parent_id,
    e.root_id,
    e.retry_of,
    e.created_at,
    coalesce(o.started_at, h.at, l.claimed_at) as started_at,
    o.finished_at,
    o.status as outcome,
    d.due_at,
    coalesce(l.worker_id, o.worker_id) as worker_id,
    case
        when o.status is not null or l.token is not null then null
        when w.blocked_reason is not null then 'blocked: ' || w.blocked_reason
        when r.execution_id is not null then 'a free worker on queue ' || e.queue
        when d.kind = 'start' then 'its start time'
        when d.kind = 'retry' then 'its next attempt'
        when d.kind = 'release' then d.reason
        when w.waits_for is not null then w.waits_for
        when w.open_tasks > 0 and w.open_children > 0 then
            format('%s open task(s), %s child workflow(s)', w.open_tasks, w.open_children)
        when w.open_tasks > 0 then format('%s open task(s)', w.open_tasks)
        when w.open_children > 0 then format('%s child workflow(s)', w.open_children)
        when exists (select from currant.watchers as x where x.workflow_id = e.id) then
            'the end of execution '
            || (select x.execution_id from currant.watchers as x where x.workflow_id = e.id order by x.number limit 1)
        when d.kind = 'timer' then 'a timer'
        when w.last_event > 0 then 'a signal'
    end as waits_for,
    exists (select from currant.cancels as c where c.execution_id = e.id) as is_cancel_requested,
    coalesce(o.error ->> 'type' || ': ' || (o.error ->> 'message'), o.error ->> 'message') as error_message
from currant.executions as e
left join currant.outcomes as o on o.execution_id = e.id
left join currant.workflows as w on w.execution_id = e.id
left join currant.history_entries as h on h.workflow_id = e.id and h.event = 1 and h.position = 0
left join lateral (
    select x.token, x.attempt, x.claimed_at, x.worker_id
    from currant.leases as x
    where x.execution_id = e.id
    limit 1
) as l on true
left join lateral (
    select x.execution_id, x.attempt
    from currant.ready as x
    where x.execution_id = e.id
    limit 1
) as r on true
left join lateral (
    select x.kind, x.due_at, x.attempt, x.reason
    from currant.delayed as x
    where x.execution_id = e.id and x.kind not in ('deadline', 'wake', 'attach', 'force')
    -- Not by the index on due_at, which would be read for all executions.
    order by x.due_at + interval '0'
    limit 1
) as d on true;

comment on view currant.execution_status is
'Every execution with its status: pending, running, suspended (a workflow that waits), blocked (a workflow that needs other code or a person), completed, failed, cancelled. waits_for says in words why it is not running. outcome is the status of what has ended, and null before: a condition on it uses an index.';

grant select on currant.execution_status to currant_observer, currant_admin;

-- Driven by the small tables, so that it costs what is open and not what has ended.
create view currant.open_executions as
select
    s.id, s.kind, s.function, s.version, s.queue, s.priority, s.status, s.attempt, s.max_attempts, s.key, s.parent_id,
    s.root_id, s.retry_of, s.created_at, s.started_at, s.finished_at, s.outcome, s.due_at, s.worker_id, s.waits_for,
    s.is_cancel_requested, s.error_message
from (
    select l.execution_id from currant.leases as l
    union
    select r.execution_id from currant.ready as r
    union
    select d.execution_id from currant.delayed as d
    union
    select w.execution_id from currant.workflows as w
) as o
join currant.execution_status as s on s.id = o.execution_id
where s.outcome is null;

comment on view currant.open_executions is
'The part of execution_status that has not ended, found without looking at what has.';

grant select on currant.open_executions to currant_observer, currant_admin;

commit;

-- Deploy currant:workflow_versions to pg
-- requires: workflows
-- requires: executions
-- requires: history
-- requires: roles

begin;

create view currant.workflow_versions as
with begun as (
    select w.execution_id, w.first_event, e.function
    from currant.workflows as w
    join currant.executions as e on e.id = w.execution_id
    where w.last_event >= w.first_event
),
marked as (
    select b.execution_id, b.function, h.name as change_id, (h.payload ->> 'version')::integer as version
    from begun as b
    join currant.history_entries as h
        on h.workflow_id = b.execution_id and h.event >= b.first_event and h.kind = 'version'
),
changes as (
    select distinct m.function, m.change_id from marked as m
)
select
    m.function, m.change_id, m.version, count(*) as runs,
    -- There is no min() of uuids; as text they have the same order.
    min(m.execution_id::text)::uuid as oldest_id
from marked as m
group by m.function, m.change_id, m.version
union all
select b.function, c.change_id, null, count(*), min(b.execution_id::text)::uuid
from begun as b
join changes as c on c.function = b.function
where not exists (
    select from marked as m where m.execution_id = b.execution_id and m.change_id = c.change_id
)
group by b.function, c.change_id
union all
select b.function, null, null, count(*), min(b.execution_id::text)::uuid
from begun as b
where not exists (select from marked as m where m.execution_id = b.execution_id)
group by b.function;

comment on view currant.workflow_versions is
'Open workflow runs that have begun, counted by the version of each change that they recorded (get_version). version null: runs that have not recorded the change, because they have not come to it or had passed it before it was made; change_id null: runs that have recorded no change at all. The old branch of a change may go when no run is left that recorded it or could still take it.';

grant select on currant.workflow_versions to currant_observer, currant_admin;

commit;

-- Deploy currant:queue_stats to pg
-- requires: executions
-- requires: ready
-- requires: delayed
-- requires: leases
-- requires: functions
-- requires: roles

begin;

create view currant.queue_stats as
with counts as (
    select r.queue, count(*) as ready, 0::bigint as delayed, 0::bigint as running, min(r.seq) as first
    from currant.ready as r
    where not r.is_workflow
    group by r.queue
    union all
    select r.queue, count(distinct r.execution_id), 0, 0, min(r.seq)
    from currant.ready as r
    where r.is_workflow
    group by r.queue
    union all
    select e.queue, 0, count(*), 0, null
    from currant.delayed as d
    join currant.executions as e on e.id = d.execution_id
    where d.kind in ('start', 'retry', 'release', 'blocked')
    group by e.queue
    union all
    select e.queue, 0, 0, count(*), null
    from currant.leases as l
    join currant.executions as e on e.id = l.execution_id
    group by e.queue
    union all
    select distinct coalesce(f.queue, 'default'), 0, 0, 0, null::bigint
    from currant.functions as f
)
select
    c.queue,
    sum(c.ready)::bigint as ready,
    sum(c.delayed)::bigint as delayed,
    sum(c.running)::bigint as running,
    (
        select e.created_at
        from currant.ready as r
        join currant.executions as e on e.id = r.execution_id
        where r.seq = min(c.first) and r.queue = c.queue
        limit 1
    ) as oldest_ready_at
from counts as c
group by c.queue;

comment on view currant.queue_stats is
'Each queue with how many executions may be claimed now, wait for a time, and are running; and when the oldest that may be claimed was created.';

grant select on currant.queue_stats to currant_observer, currant_admin;

commit;

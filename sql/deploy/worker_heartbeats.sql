-- Deploy currant:worker_heartbeats to pg
-- requires: workers
-- requires: leases
-- requires: now
-- requires: roles

begin;

-- clock_timestamp() and not _now(): a view checks functions with the rights of its reader.
create view currant.worker_heartbeats as
select
    w.id as worker_id,
    w.host,
    w.pid,
    w.queues,
    w.concurrency,
    (select count(*) from currant.leases as l where l.worker_id = w.id) as running,
    w.started_at,
    w.heartbeat_at,
    w.heartbeat_timeout,
    w.died_at,
    w.died_at is null and w.heartbeat_at > clock_timestamp() - w.heartbeat_timeout as is_alive
from currant.workers as w;

comment on view currant.worker_heartbeats is
'The workers: who they are, what they run, when they were last heard of, and whether they count as alive. One that died is listed for an hour.';

grant select on currant.worker_heartbeats to currant_observer, currant_admin;

commit;

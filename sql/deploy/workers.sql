-- Deploy currant:workers to pg
-- requires: schema

begin;

create table currant.workers (
    id uuid not null,
    host text not null,
    pid integer,
    queues text[] not null,
    concurrency integer not null,
    heartbeat_timeout interval not null,
    started_at timestamptz not null,
    heartbeat_at timestamptz not null,
    waiting_until timestamptz,
    died_at timestamptz,
    constraint workers_pkey primary key (id),
    constraint workers_heartbeat_timeout_is_positive check (heartbeat_timeout > interval '0')
)
with (fillfactor = 20, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000, vacuum_truncate = off);

-- Every enqueue asks who waits. While vacuum is held back, heartbeats leave thousands of dead versions, and what is still
-- to come is only with those who do wait.
create index workers_waiting_until_idx on currant.workers (waiting_until) where waiting_until is not null;

comment on table currant.workers is
'A worker process, from register_worker until deregister_worker or, for one that died, an hour after.';
comment on column currant.workers.waiting_until is
'Until then it sleeps and wants to be notified of work in its queues.';
comment on column currant.workers.died_at is
'When its heartbeat was found to be over its timeout; from then on its calls are refused.';

create table currant.worker_functions (
    worker_id uuid not null,
    function text not null,
    version integer not null,
    constraint worker_functions_pkey primary key (worker_id, function)
);

create index worker_functions_function_idx on currant.worker_functions (function);

comment on table currant.worker_functions is
'What a worker said that it can run when it registered: of a function any version up to this one. The rows go with the worker.';

commit;

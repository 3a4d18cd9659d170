-- Deploy currant:leases to pg
-- requires: schema

begin;

create table currant.leases (
    execution_id uuid not null,
    token bigint generated always as identity,
    worker_id uuid not null,
    attempt integer not null,
    is_workflow boolean not null,
    parent_id uuid,
    command_number integer,
    claimed_at timestamptz not null,
    deadline_at timestamptz not null,
    constraint leases_pkey primary key (execution_id, token)
)
with (
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 5000,
    autovacuum_analyze_scale_factor = 0,
    autovacuum_analyze_threshold = 5000,
    autovacuum_vacuum_cost_delay = 0,
    vacuum_truncate = off
);

create index leases_worker_id_idx on currant.leases (worker_id, deadline_at);

comment on table currant.leases is
'Is being run by a worker. The token fences every write of that run: a row is inserted by a claim, deleted by whatever ends the run, never updated.';
comment on column currant.leases.deadline_at is
'When the attempt has run for its timeout; some time later the database takes the lease away.';

commit;

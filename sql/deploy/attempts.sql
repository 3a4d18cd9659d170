-- Deploy currant:attempts to pg
-- requires: schema

begin;

create table currant.attempts (
    execution_id uuid not null,
    token bigint not null,
    attempt integer not null,
    worker_id uuid not null,
    started_at timestamptz not null,
    ended_at timestamptz not null,
    error jsonb not null,
    constraint attempts_pkey primary key (execution_id, token)
);

comment on table currant.attempts is
'An attempt that failed, ran out of time or was lost with its worker. Insert only.';

create table currant.progress (
    execution_id uuid not null,
    details jsonb not null,
    reported_at timestamptz not null,
    constraint progress_pkey primary key (execution_id)
)
with (fillfactor = 70);

comment on table currant.progress is
'The last heartbeat details of a task, kept for its next attempt. Only tasks that report details have a row.';

commit;

-- Deploy currant:outcomes to pg
-- requires: schema

begin;

create table currant.outcomes (
    execution_id uuid not null,
    status text not null,
    result jsonb,
    error jsonb,
    attempt integer not null,
    token bigint,
    worker_id uuid,
    started_at timestamptz,
    finished_at timestamptz not null,
    constraint outcomes_pkey primary key (execution_id)
);

create index outcomes_unsuccessful_idx on currant.outcomes (status, execution_id) where status <> 'completed';

comment on table currant.outcomes is
'How an execution ended. Insert only: what has ended never changes.';
comment on column currant.outcomes.token is
'The lease that ended it: how a repeated completion is recognised. Null when it ended without one.';

commit;

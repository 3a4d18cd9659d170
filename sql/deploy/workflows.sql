-- Deploy currant:workflows to pg
-- requires: schema

begin;

create table currant.workflows (
    execution_id uuid not null,
    queue text not null,
    rank integer not null,
    timeout interval not null,
    version integer not null,
    last_event integer not null default 0,
    last_command integer not null default 0,
    last_at timestamptz not null,
    last_token bigint,
    open_tasks integer not null default 0,
    open_children integer not null default 0,
    first_event integer not null default 1,
    first_command integer not null default 1,
    used interval not null default interval '0',
    active_since timestamptz,
    is_deadline_armed boolean not null default false,
    has_attached boolean not null default false,
    lost_activations integer not null default 0,
    refused_ends integer not null default 0,
    blocked_reason text,
    blocked_since timestamptz,
    waits_for text,
    constraint workflows_pkey primary key (execution_id)
)
with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, vacuum_truncate = off);

comment on table currant.workflows is
'Progress of an open workflow; the row goes when the workflow ends. Its row lock orders everything that moves the workflow: the claim, advance, and the ends that come from outside.';
comment on column currant.workflows.last_token is
'Token of the last accepted advance: how its repetition is recognised.';
comment on column currant.workflows.open_tasks is
'Tasks whose ends have not been applied yet; while there are any, its own time runs.';
comment on column currant.workflows.open_children is
'Child workflows whose ends have not been applied yet.';
comment on column currant.workflows.has_attached is
'Whether its present run has attached to other executions: only then has watchers to be looked into.';
comment on column currant.workflows.blocked_since is
'When it was blocked first after it last advanced: what the waits between tries grow with.';
comment on column currant.workflows.first_event is
'The event that its present run starts with: 1, or the one after it last continued as new. Replay begins there.';
comment on column currant.workflows.first_command is
'The number from which on the commands of its present run are counted: those before are of runs that have cancelled what they left open.';
comment on column currant.workflows.used is
'Time in which it had something to run, up to active_since: what its timeout is compared with.';
comment on column currant.workflows.rank is
'Rank of its wake rows in ready.';

commit;

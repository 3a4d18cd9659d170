-- Deploy currant:inbox to pg
-- requires: workflows

begin;

create table currant.inbox (
    workflow_id uuid not null,
    arrival bigint generated always as identity,
    kind text not null,
    number integer,
    name text,
    payload jsonb,
    child_id uuid,
    arrived_at timestamptz not null,
    restart jsonb,
    constraint inbox_pkey primary key (workflow_id, arrival)
)
with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, vacuum_truncate = off);

comment on table currant.inbox is
'Something happened to an open workflow and has not been applied yet. Inserted by whoever causes it, with a wake row in ready, without any lock; taken into the history by advance.';
comment on column currant.inbox.child_id is
'The execution that ended; its result stays in outcomes and is not copied.';
comment on column currant.inbox.restart is
'How to enqueue the workflow anew for a signal that it ends without having read, and the id of the signal.';

create table currant.signal_ids (
    workflow_id uuid not null,
    signal_id uuid not null,
    arrival bigint not null,
    constraint signal_ids_pkey primary key (workflow_id, signal_id)
);

comment on table currant.signal_ids is
'Signals that came with an id of their own: a repeated call with the same id delivers nothing twice.';

commit;

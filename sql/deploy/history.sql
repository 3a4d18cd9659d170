-- Deploy currant:history to pg
-- requires: workflows

begin;

create table currant.history_entries (
    workflow_id uuid not null,
    event integer not null,
    position integer not null,
    kind text not null,
    number integer,
    name text,
    payload jsonb,
    child_id uuid,
    source text,
    at timestamptz not null,
    restart jsonb,
    constraint history_entries_pkey primary key (workflow_id, event, position)
);

create index history_entries_version_idx on currant.history_entries (workflow_id) where kind = 'version';

comment on table currant.history_entries is
'What was applied to a workflow, in the order applied, and the commands each event caused. Insert only, by advance alone.';
comment on column currant.history_entries.position is
'0 is the event itself; 1 and on are the commands issued while it was applied.';
comment on column currant.history_entries.number is
'Of a command its number, of an event the number of the command it answers.';
comment on column currant.history_entries.restart is
'Of a signal that is to go to another workflow if nobody takes it: how it was in the inbox.';

commit;

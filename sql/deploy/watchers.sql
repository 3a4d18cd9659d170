-- Deploy currant:watchers to pg
-- requires: schema

begin;

create table currant.watchers (
    execution_id uuid not null,
    watching_until timestamptz not null,
    workflow_id uuid,
    number integer,
    constraint watchers_workflow_has_command check ((workflow_id is null) = (number is null))
)
with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000, vacuum_truncate = off);

create index watchers_execution_id_idx on currant.watchers (execution_id);
create index watchers_workflow_id_idx on currant.watchers (workflow_id, number) where workflow_id is not null;

create index watchers_watching_until_idx on currant.watchers (watching_until) where workflow_id is null;

comment on table currant.watchers is
'Somebody waits for the end of this execution and wants to be notified of it; or a workflow does, and gets it as an event.';
comment on column currant.watchers.number is
'Number of the command with which the workflow attached.';

commit;

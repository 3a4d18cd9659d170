-- Deploy currant:watchers to pg
-- requires: schema

begin;

create table currant.watchers (
    execution_id uuid not null,
    watching_until timestamptz not null
)
with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000, vacuum_truncate = off);

create index watchers_execution_id_idx on currant.watchers (execution_id);

comment on table currant.watchers is
'Somebody waits for the end of this execution and wants to be notified of it.';

commit;

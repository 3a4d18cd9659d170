-- Deploy currant:ready to pg
-- requires: schema

begin;

create table currant.ready (
    seq bigint generated always as identity,
    execution_id uuid not null,
    queue text not null,
    rank integer not null,
    attempt integer not null,
    is_workflow boolean not null
)
with (
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 5000,
    autovacuum_analyze_scale_factor = 0,
    autovacuum_analyze_threshold = 5000,
    autovacuum_vacuum_cost_delay = 0,
    vacuum_truncate = off
);

create index ready_claim_idx on currant.ready (queue, is_workflow, rank, seq);
create index ready_execution_id_idx on currant.ready (execution_id);
create index ready_workflows_idx on currant.ready (queue) where is_workflow;

comment on table currant.ready is
'May be claimed now. Rows are inserted and deleted, never updated: the claim takes them by their physical place (ctid).';
comment on column currant.ready.rank is
'Order within a queue, lowest first: -2 * priority + band, band 0 for what continues a workflow already begun, 1 for new work.';
comment on column currant.ready.seq is
'First in, first out within a rank.';
comment on column currant.ready.attempt is
'Of a task: the number of the attempt to start. Of a workflow: 1 to run it, 0 to wake it if something is in its inbox.';

commit;

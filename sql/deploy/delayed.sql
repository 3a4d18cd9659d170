-- Deploy currant:delayed to pg
-- requires: schema

begin;

create table currant.delayed (
    execution_id uuid not null,
    kind text not null,
    number integer not null default 0,
    due_at timestamptz not null,
    attempt integer not null default 1,
    reason text,
    constraint delayed_pkey primary key (execution_id, kind, number)
)
with (
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 5000,
    autovacuum_analyze_scale_factor = 0,
    autovacuum_analyze_threshold = 5000,
    vacuum_truncate = off
);

create index delayed_due_at_idx on currant.delayed (due_at);
create index delayed_released_idx on currant.delayed (execution_id) where kind in ('release', 'blocked');

comment on table currant.delayed is
'At due_at it becomes ready (start, retry, release, blocked, wake), fires (timer and deadline of a workflow), or is looked at again (attach: has what a workflow attached to ended; force: can it be cancelled by force now). Never updated.';
comment on column currant.delayed.number is
'Command number of a timer or an attach; of a wake row that a claim met while somebody had the workflow locked, its seq; 0 otherwise.';
comment on column currant.delayed.reason is
'Why it was given back or is blocked, in words, for status and list. Of an attach: the first transaction that is sure to have seen it.';

commit;

-- Deploy currant:cancels to pg
-- requires: schema

begin;

create table currant.cancels (
    execution_id uuid not null,
    reason text,
    requested_at timestamptz not null,
    constraint cancels_pkey primary key (execution_id)
);

comment on table currant.cancels is
'Cancellation was asked for. Insert only, and read by every path that would run the execution again.';

commit;

-- Deploy currant:cancels to pg
-- requires: schema

begin;

create table currant.cancels (
    execution_id uuid not null,
    id bigint generated always as identity,
    reason text,
    requested_at timestamptz not null,
    constraint cancels_pkey primary key (execution_id, id)
);

comment on table currant.cancels is
'Cancellation was asked for, perhaps by several at once: a unique execution would make them wait for each other''s commit. Insert only, and read by every path that would run the execution again.';

commit;

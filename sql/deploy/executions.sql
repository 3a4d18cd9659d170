-- Deploy currant:executions to pg
-- requires: schema

begin;

create table currant.executions (
    id uuid not null,
    kind text not null,
    function text not null,
    version integer not null,
    queue text not null,
    priority integer not null,
    args jsonb not null,
    max_attempts integer not null,
    timeout interval not null,
    retry_delay interval not null,
    retry_backoff double precision not null,
    retry_max_delay interval not null,
    parent_id uuid,
    command_number integer,
    root_id uuid not null,
    retry_of uuid,
    key text,
    headers jsonb,
    created_at timestamptz not null,
    on_parent_end text not null default 'cancel',
    constraint executions_pkey primary key (id)
);

create index executions_parent_id_idx on currant.executions (parent_id, command_number)
where parent_id is not null;
create unique index executions_retry_of_idx on currant.executions (retry_of) where retry_of is not null;

comment on table currant.executions is
'A task or workflow was asked for. Inserted once and never updated; how it goes is in the other tables.';
comment on column currant.executions.command_number is
'Number of the command of the parent workflow that asked for it.';
comment on column currant.executions.root_id is
'The outermost ancestor, or its own id.';
comment on column currant.executions.on_parent_end is
'What becomes of it when its parent ends or continues as new: it is cancelled, or left alone.';

commit;

-- Deploy currant:functions to pg
-- requires: schema

begin;

create table currant.functions (
    name text not null,
    kind text not null,
    version integer not null,
    queue text,
    priority integer,
    retries integer,
    timeout interval,
    retry_delay interval,
    retry_backoff double precision,
    retry_max_delay interval,
    registered_at timestamptz not null,
    constraint functions_pkey primary key (name),
    constraint functions_kind_is_known check (kind in ('task', 'workflow'))
);

comment on table currant.functions is
'Declarations of the functions that workers know: the defaults of an enqueue that names no options. Null means the configured default; a task without a queue goes to its workflow''s, or to the queue default.';

commit;

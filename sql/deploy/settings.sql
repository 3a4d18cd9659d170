-- Deploy currant:settings to pg
-- requires: roles

begin;

create table currant.configuration (
    is_only boolean not null default true,
    hash_seed bigint not null default floor(random() * 4294967295)::bigint,
    max_payload_bytes integer not null default 1048576,
    max_lost_activations integer not null default 5,
    default_retries integer not null default 3,
    default_timeout interval not null default interval '300 seconds',
    default_workflow_timeout interval not null default interval '3600 seconds',
    default_retry_delay interval not null default interval '1 second',
    default_retry_backoff double precision not null default 2,
    default_retry_max_delay interval not null default interval '300 seconds',
    constraint configuration_pkey primary key (is_only),
    constraint configuration_is_one_row check (is_only),
    constraint configuration_durations_are_usable check (
        default_timeout > interval '0'
        and default_workflow_timeout > interval '0'
        and default_retry_delay >= interval '0'
        and default_retry_max_delay >= interval '0'
        and default_retry_backoff >= 1
    ),
    constraint configuration_max_payload_bytes_is_positive check (max_payload_bytes > 0),
    constraint configuration_default_retries_is_not_negative check (default_retries >= 0)
);

comment on table currant.configuration is
'One row: what holds for the whole installation. An administrator may update it; functions read it at every call.';
comment on column currant.configuration.hash_seed is
'PYTHONHASHSEED of every Python worker, so that sets of strings iterate alike wherever a workflow is replayed.';

insert into currant.configuration default values;

grant select, update on currant.configuration to currant_admin;

commit;

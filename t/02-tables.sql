-- The private tables: columns and indexes that the functions rely on.

begin;

select plan(39);

create temporary table wanted (name text, columns text, indexes text);

insert into wanted values
('attempts',
    'execution_id uuid, token bigint, attempt integer, worker_id uuid, started_at timestamptz, ended_at timestamptz, '
    'error jsonb',
    'attempts_pkey'),
('cancels',
    'execution_id uuid, id bigint, reason text null, requested_at timestamptz',
    'cancels_pkey'),
('configuration',
    'is_only boolean, hash_seed bigint, max_payload_bytes integer, max_lost_activations integer, '
    'default_retries integer, default_timeout interval, default_workflow_timeout interval, '
    'default_retry_delay interval, default_retry_backoff double precision, default_retry_max_delay interval',
    'configuration_pkey'),
('delayed',
    'execution_id uuid, kind text, number integer, due_at timestamptz, attempt integer, reason text null',
    'delayed_due_at_idx delayed_pkey delayed_released_idx'),
('executions',
    'id uuid, kind text, function text, version integer, queue text, priority integer, args jsonb, '
    'max_attempts integer, timeout interval, retry_delay interval, retry_backoff double precision, '
    'retry_max_delay interval, parent_id uuid null, command_number integer null, root_id uuid, retry_of uuid null, '
    'key text null, headers jsonb null, created_at timestamptz, on_parent_end text',
    'executions_parent_id_idx executions_pkey executions_retry_of_idx'),
('functions',
    'name text, kind text, version integer, queue text null, priority integer null, retries integer null, '
    'timeout interval null, retry_delay interval null, retry_backoff double precision null, '
    'retry_max_delay interval null, registered_at timestamptz',
    'functions_pkey'),
('history_entries',
    'workflow_id uuid, event integer, position integer, kind text, number integer null, name text null, '
    'payload jsonb null, child_id uuid null, source text null, at timestamptz, restart jsonb null',
    'history_entries_pkey history_entries_version_idx'),
('inbox',
    'workflow_id uuid, arrival bigint, kind text, number integer null, name text null, payload jsonb null, '
    'child_id uuid null, arrived_at timestamptz, restart jsonb null',
    'inbox_pkey'),
('keys',
    'function text, key text, execution_id uuid',
    'keys_pkey'),
('leases',
    'execution_id uuid, token bigint, worker_id uuid, attempt integer, is_workflow boolean, parent_id uuid null, '
    'command_number integer null, claimed_at timestamptz, deadline_at timestamptz',
    'leases_pkey leases_worker_id_idx'),
('outcomes',
    'execution_id uuid, status text, result jsonb null, error jsonb null, attempt integer, token bigint null, '
    'worker_id uuid null, started_at timestamptz null, finished_at timestamptz',
    'outcomes_pkey outcomes_unsuccessful_idx'),
('progress',
    'execution_id uuid, details jsonb, reported_at timestamptz',
    'progress_pkey'),
('ready',
    'seq bigint, execution_id uuid, queue text, rank integer, attempt integer, is_workflow boolean',
    'ready_claim_idx ready_execution_id_idx ready_workflows_idx'),
('signal_ids',
    'workflow_id uuid, signal_id uuid, arrival bigint',
    'signal_ids_pkey'),
('ticker',
    'is_only boolean, ticked_at timestamptz, steady_since timestamptz, swept_at timestamptz, sweep_took interval, '
    'swept_to timestamptz, enforced_at timestamptz',
    'ticker_pkey'),
('watchers',
    'execution_id uuid, watching_until timestamptz, workflow_id uuid null, number integer null',
    'watchers_execution_id_idx watchers_watching_until_idx watchers_workflow_id_idx'),
('worker_functions',
    'worker_id uuid, function text, version integer',
    'worker_functions_function_idx worker_functions_pkey'),
('workers',
    'id uuid, host text, pid integer null, queues text[], concurrency integer, heartbeat_timeout interval, '
    'started_at timestamptz, heartbeat_at timestamptz, waiting_until timestamptz null, died_at timestamptz null',
    'workers_pkey workers_waiting_until_idx'),
('workflows',
    'execution_id uuid, queue text, rank integer, timeout interval, version integer, last_event integer, '
    'last_command integer, last_at timestamptz, last_token bigint null, open_tasks integer, open_children integer, '
    'first_event integer, first_command integer, used interval, active_since timestamptz null, is_deadline_armed boolean, '
    'has_attached boolean, lost_activations integer, refused_ends integer, blocked_reason text null, '
    'blocked_since timestamptz null, waits_for text null',
    'workflows_pkey');

select bag_eq(
    $$ select relname::text from pg_class where relnamespace = 'currant'::regnamespace and relkind = 'r' $$,
    'select name from wanted',
    'these are the tables, and no others'
);

select is(
    (
        select string_agg(
            a.attname || ' ' || replace(format_type(a.atttypid, a.atttypmod), 'timestamp with time zone', 'timestamptz')
            || case when a.attnotnull then '' else ' null' end,
            ', ' order by a.attnum
        )
        from pg_attribute as a
        where a.attrelid = ('currant.' || w.name)::regclass and a.attnum > 0 and not a.attisdropped
    ),
    w.columns,
    format('%s has its columns', w.name)
)
from wanted as w;

select is(
    (
        select string_agg(c.relname::text, ' ' order by c.relname)
        from pg_index as i
        join pg_class as c on c.oid = i.indexrelid
        where i.indrelid = ('currant.' || w.name)::regclass
    ),
    w.indexes,
    format('%s has its indexes', w.name)
)
from wanted as w;

select * from finish();
rollback;

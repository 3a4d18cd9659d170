-- The contract: every public function with its arguments, result, volatility, and who may execute it.

begin;

select plan(68);

create temporary table api (name text, arguments text, returns text, volatility text, roles text);

insert into api values
('enqueue', 'function text, args jsonb DEFAULT ''{}''::jsonb, options jsonb DEFAULT ''{}''::jsonb', 'uuid', 'volatile', 'client worker admin'),
('enqueue_many', 'function text, args jsonb[], options jsonb DEFAULT ''{}''::jsonb, ids uuid[] DEFAULT NULL::uuid[]', 'SETOF uuid', 'volatile', 'client worker admin'),
('signal', 'execution uuid, name text, payload jsonb DEFAULT ''null''::jsonb, options jsonb DEFAULT ''{}''::jsonb', 'bigint', 'volatile', 'client worker admin'),
('signal_by_key', 'function text, key text, name text, payload jsonb DEFAULT ''null''::jsonb, options jsonb DEFAULT ''{}''::jsonb', 'bigint', 'volatile', 'client worker admin'),
('enqueue_and_signal', 'function text, args jsonb, signal text, payload jsonb DEFAULT ''null''::jsonb, options jsonb DEFAULT ''{}''::jsonb', 'uuid', 'volatile', 'client worker admin'),
('cancel', 'execution uuid, reason text DEFAULT NULL::text, options jsonb DEFAULT ''{}''::jsonb', 'text', 'volatile', 'client admin'),
('retry', 'execution uuid, options jsonb DEFAULT ''{}''::jsonb', 'uuid', 'volatile', 'client admin'),
('status', 'execution uuid', 'currant.execution_state', 'stable', 'client worker observer admin'),
('result', 'execution uuid', 'jsonb', 'stable', 'client worker observer admin'),
('watch', 'execution uuid, watch_for interval DEFAULT ''00:01:00''::interval', 'text', 'volatile', 'client worker observer admin'),
('history', 'execution uuid, after_event integer DEFAULT 0', 'SETOF currant.history_entry', 'stable', 'worker observer admin'),
('export_history', 'execution uuid', 'jsonb', 'stable', 'worker observer admin'),
('tree', 'execution uuid, at_most integer DEFAULT 1000', 'TABLE(depth integer, parent_id uuid, command_number integer, id uuid, kind text, function text, version integer, queue text, priority integer, status text, attempt integer, max_attempts integer, key text, root_id uuid, retry_of uuid, created_at timestamp with time zone, started_at timestamp with time zone, finished_at timestamp with time zone, outcome text, due_at timestamp with time zone, worker_id uuid, waits_for text, is_cancel_requested boolean, error_message text)', 'stable', 'client worker observer admin'),
('version', '', 'text', 'immutable', 'client worker observer admin'),
('settings', '', 'TABLE(hash_seed bigint, max_payload_bytes integer, default_retries integer, default_timeout interval, default_workflow_timeout interval)', 'stable', 'client worker observer admin'),
('register_functions', 'functions jsonb', 'integer', 'volatile', 'worker admin'),
('register_worker', 'options jsonb', 'uuid', 'volatile', 'worker admin'),
('deregister_worker', 'worker uuid', 'integer', 'volatile', 'worker admin'),
('claim', 'worker uuid, queues text[], tasks integer, workflows integer DEFAULT 0, hints jsonb DEFAULT NULL::jsonb', 'SETOF currant.claimed', 'volatile', 'worker admin'),
('resume', 'worker uuid', 'SETOF currant.claimed', 'volatile', 'worker admin'),
('complete', 'worker uuid, execution uuid, token bigint, result jsonb', 'text', 'volatile', 'worker admin'),
('complete_many', 'worker uuid, executions uuid[], tokens bigint[], results jsonb[]', 'text[]', 'volatile', 'worker admin'),
('fail', 'worker uuid, execution uuid, token bigint, error jsonb, retry_after interval DEFAULT NULL::interval', 'text', 'volatile', 'worker admin'),
('fail_many', 'worker uuid, executions uuid[], tokens bigint[], errors jsonb[], retry_after interval[] DEFAULT NULL::interval[]', 'text[]', 'volatile', 'worker admin'),
('release', 'worker uuid, execution uuid, token bigint, reason text DEFAULT NULL::text', 'text', 'volatile', 'worker admin'),
('release_many', 'worker uuid, executions uuid[], tokens bigint[], reasons text[] DEFAULT NULL::text[]', 'text[]', 'volatile', 'worker admin'),
('advance', 'worker uuid, execution uuid, token bigint, last_event integer, arrivals bigint[], commands jsonb, options jsonb DEFAULT ''{}''::jsonb', 'text', 'volatile', 'worker admin'),
('advance_many', 'worker uuid, activations jsonb[]', 'text[]', 'volatile', 'worker admin'),
('step_many', 'worker uuid, activations jsonb, direct jsonb DEFAULT ''{}''::jsonb', 'json', 'volatile', 'worker admin'),
('heartbeat', 'worker uuid, executions uuid[], tokens bigint[], details jsonb[] DEFAULT NULL::jsonb[]', 'SETOF currant.heartbeat_answer', 'volatile', 'worker admin'),
('tick', 'duty text DEFAULT NULL::text', 'currant.tick_result', 'volatile', 'worker admin');

create temporary view actual as
select p.proname::text as name, pg_get_function_arguments(p.oid) as arguments, pg_get_function_result(p.oid) as returns,
    case p.provolatile when 'v' then 'volatile' when 's' then 'stable' else 'immutable' end as volatility,
    (
        select string_agg(r.name, ' ' order by r.n)
        from unnest(array['client', 'worker', 'observer', 'admin']) with ordinality as r (name, n)
        where has_function_privilege('currant_' || r.name, p.oid, 'execute')
    ) as roles
from pg_proc as p
where p.pronamespace = 'currant'::regnamespace and p.proname !~ '^_';

select bag_eq('select name from actual', 'select name from api', 'these are the public functions, and no others');

select is(
    format('%s(%s) returns %s, %s', f.name, f.arguments, f.returns, f.volatility),
    format('%s(%s) returns %s, %s', a.name, a.arguments, a.returns, a.volatility),
    format('%s is as promised', a.name)
)
from api as a
left join actual as f on f.name = a.name
order by a.name;

select is(f.roles, a.roles, format('%s may be executed by those who need it', a.name))
from api as a
left join actual as f on f.name = a.name
order by a.name;

create temporary table types (name text, columns text);

insert into types values
('claimed', 'execution_id uuid, token bigint, kind text, function text, version integer, queue text, rank integer, seq bigint, attempt integer, max_attempts integer, args jsonb, headers jsonb, parent_id uuid, root_id uuid, created_at timestamp with time zone, claimed_at timestamp with time zone, timeout interval, details jsonb, last_event integer, last_command integer, inbox jsonb, first_event integer, carried jsonb, command_number integer'),
('execution_state', 'id uuid, kind text, function text, version integer, queue text, priority integer, status text, attempt integer, max_attempts integer, args jsonb, result jsonb, error jsonb, headers jsonb, key text, parent_id uuid, root_id uuid, created_at timestamp with time zone, started_at timestamp with time zone, finished_at timestamp with time zone, due_at timestamp with time zone, worker_id uuid, waits_for text, is_cancel_requested boolean, retry_of uuid, details jsonb, attempts jsonb, unread_signals jsonb'),
('heartbeat_answer', 'execution_id uuid, token bigint, answer text'),
('history_entry', 'event integer, position integer, kind text, number integer, name text, payload jsonb, execution_id uuid, source text, at timestamp with time zone'),
('tick_result', 'done integer, more boolean, next_due_in interval');

select is(
    (
        select string_agg(a.attname || ' ' || format_type(a.atttypid, a.atttypmod), ', ' order by a.attnum)
        from pg_attribute as a
        where a.attrelid = ('currant.' || t.name)::regclass and a.attnum > 0 and not a.attisdropped
    ),
    t.columns,
    format('the columns of %s are as promised, in this order', t.name)
)
from types as t;

select * from finish();
rollback;

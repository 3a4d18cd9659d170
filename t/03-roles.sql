-- What each role can and cannot do, by doing it.

begin;

\ir lib/helpers.psql

select plan(26);

create temporary table calls (name text, statement text);

insert into calls values
('enqueue', $$ select currant.enqueue('f', '{}', '{"queue": "roles"}') $$),
('enqueue_many', $$ select currant.enqueue_many('f', array['{}'::jsonb], '{"queue": "roles"}') $$),
('signal', $$ select currant.signal(gen_random_uuid(), 's') $$),
('signal_by_key', $$ select currant.signal_by_key('f', 'k', 's') $$),
('enqueue_and_signal', $$ select currant.enqueue_and_signal('f', '{}', 's') $$),
('cancel', $$ select currant.cancel(gen_random_uuid()) $$),
('retry', $$ select currant.retry(gen_random_uuid()) $$),
('status', $$ select currant.status(gen_random_uuid()) $$),
('result', $$ select currant.result(gen_random_uuid()) $$),
('watch', $$ select currant.watch(gen_random_uuid()) $$),
('history', $$ select currant.history(gen_random_uuid()) $$),
('export_history', $$ select currant.export_history(gen_random_uuid()) $$),
('tree', $$ select currant.tree(gen_random_uuid()) $$),
('version', $$ select currant.version() $$),
('settings', $$ select currant.settings() $$),
('register_functions', $$ select currant.register_functions('[]') $$),
('register_worker', $$ select currant.register_worker('{}') $$),
('deregister_worker', $$ select currant.deregister_worker(gen_random_uuid()) $$),
('claim', $$ select currant.claim(gen_random_uuid(), '{roles}', 1) $$),
('resume', $$ select currant.resume(gen_random_uuid()) $$),
('complete', $$ select currant.complete(gen_random_uuid(), gen_random_uuid(), 1, '1') $$),
('complete_many', $$ select currant.complete_many(gen_random_uuid(), '{}', '{}', '{}') $$),
('fail', $$ select currant.fail(gen_random_uuid(), gen_random_uuid(), 1, '{}') $$),
('fail_many', $$ select currant.fail_many(gen_random_uuid(), '{}', '{}', '{}') $$),
('release', $$ select currant.release(gen_random_uuid(), gen_random_uuid(), 1) $$),
('release_many', $$ select currant.release_many(gen_random_uuid(), '{}', '{}') $$),
('advance', $$ select currant.advance(gen_random_uuid(), gen_random_uuid(), 1, 0, '{}', '[]') $$),
('advance_many', $$ select currant.advance_many(gen_random_uuid(), '{}') $$),
('step_many', $$ select currant.step_many(gen_random_uuid(), '[]') $$),
('heartbeat', $$ select currant.heartbeat(gen_random_uuid(), '{}', '{}') $$),
('tick', $$ select currant.tick() $$);

-- The call may fail for other reasons (the execution does not exist): what counts is that it was let in.
create temporary table allowed as
select r.role, c.name, test.state_as('currant_' || r.role, c.statement) <> '42501' as is_allowed
from calls as c
cross join (values ('client'), ('worker'), ('observer'), ('admin')) as r (role);

select bag_eq(
    $$ select name from calls $$,
    $$ select proname::text from pg_proc where pronamespace = 'currant'::regnamespace and proname !~ '^_' $$,
    'every public function is tried'
);

select is(
    (select string_agg(a.name, ' ' order by a.name) from allowed as a where a.is_allowed and a.role = w.role),
    w.names,
    format('a %s can do what it needs, and no more', w.role)
)
from (values
    (
        'client',
        'cancel enqueue enqueue_and_signal enqueue_many result retry settings signal signal_by_key status tree version '
        'watch'
    ),
    ('observer', 'export_history history result settings status tree version watch'),
    (
        'worker',
        'advance advance_many claim complete complete_many deregister_worker enqueue enqueue_and_signal enqueue_many '
        'export_history fail fail_many heartbeat history register_functions register_worker release release_many '
        'result resume settings signal signal_by_key status step_many tick tree version watch'
    )
) as w (role, names);

select is_empty(
    $$ select name from allowed where role = 'admin' and not is_allowed $$, 'an administrator can do everything'
);

create temporary table tables as
select c.oid::regclass::text as name, c.relkind = 'v' as is_view
from pg_class as c
where c.relnamespace = 'currant'::regnamespace and c.relkind in ('r', 'v');

select is_empty(
    format(
        $$
        select name from tables
        where not is_view and name is distinct from %L and test.state_as(%L, 'table ' || name) <> '42501'
        $$,
        r.but, 'currant_' || r.role
    ),
    format('%s cannot read tables', r.role)
)
from (values
    ('client', null), ('worker', null), ('observer', null), ('admin', 'currant.configuration')
) as r (role, but);

select is(
    test.state_as('currant_admin', 'update currant.configuration set default_retries = 4'), '00000',
    'an administrator can change the configuration'
);

select is_empty(
    format(
        $$ select name from tables where test.state_as(%L, 'delete from ' || name) not in ('42501', '55000') $$,
        'currant_' || r.role
    ),
    format('%s cannot write tables or views', r.role)
)
from (values ('client'), ('worker'), ('observer'), ('admin')) as r (role);

select is(
    (
        select string_agg(name, ' ' order by name) from tables
        where is_view and test.state_as('currant_' || r.role, 'table ' || name) = '00000'
    ),
    r.views,
    format('%s can read these views: %s', r.role, coalesce(r.views, 'none'))
)
from (values
    ('client', null),
    ('worker', null),
    ('observer', 'currant.execution_status currant.open_executions currant.queue_stats currant.worker_heartbeats currant.workflow_signals currant.workflow_versions'),
    ('admin', 'currant.execution_status currant.open_executions currant.queue_stats currant.worker_heartbeats currant.workflow_signals currant.workflow_versions')
) as r (role, views);

select is(
    test.state_as('currant_' || r.role, 'select currant._uuid7()'), '42501',
    format('%s cannot call private functions', r.role)
)
from (values ('client'), ('worker'), ('observer'), ('admin')) as r (role);

select is(
    test.state_as('currant_client', 'create table currant.mine ()'), '42501',
    'a client cannot create anything in the schema'
);
select is(
    test.state_as('currant_admin', 'create table currant.mine ()'), '42501',
    'neither can an administrator'
);

select isnt(
    (select rolcanlogin::text from pg_roles where rolname = 'currant_client'), 'true',
    'the roles are given to users; nobody logs in as one of them'
);
select ok(not rolsuper and not rolcreaterole and not rolcreatedb, 'an administrator of the queue is none of the server')
from pg_roles where rolname = 'currant_admin';

select * from finish();
rollback;

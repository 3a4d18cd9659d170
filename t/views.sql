-- The views: the stable way to read, for people and tools.

begin;

\ir lib/helpers.psql

select plan(20);

select columns_are('currant', v.name, string_to_array(v.columns, ' '), format('%s has its columns', v.name))
from (values
    ('execution_status', 'id kind function version queue priority status attempt max_attempts key parent_id root_id '
        'retry_of created_at started_at finished_at outcome due_at worker_id waits_for is_cancel_requested error_message'),
    ('open_executions', 'id kind function version queue priority status attempt max_attempts key parent_id root_id '
        'retry_of created_at started_at finished_at outcome due_at worker_id waits_for is_cancel_requested error_message'),
    ('queue_stats', 'queue ready delayed running oldest_ready_at'),
    ('worker_heartbeats', 'worker_id host pid queues concurrency running started_at heartbeat_at '
        'heartbeat_timeout died_at is_alive'),
    ('workflow_signals', 'execution_id name payload arrived_at is_applied'),
    ('workflow_versions', 'function change_id version runs oldest_id')
) as v (name, columns);

select test.stop_clock('2030-01-01 00:00:00+00');
create function test.stats(queue text) returns text language sql as $$
    select format(
        '%s ready, %s delayed, %s running, oldest %s', q.ready, q.delayed, q.running,
        to_char(q.oldest_ready_at at time zone 'utc', 'MI:SS')
    )
    from currant.queue_stats as q where q.queue = stats.queue
$$;
select test.worker('views') as worker \gset
select currant.register_functions('[{"name": "f", "queue": "views_empty"}]') as n \gset
select is(
    test.stats('views_empty'), '0 ready, 0 delayed, 0 running, oldest ',
    'a queue that a function declares is listed'
);
select is(test.stats('views_unknown'), null, 'others are not');

select count(*) from currant.enqueue_many('f', array_fill('{}'::jsonb, array[3]), '{"queue": "views"}') \gset
select test.pass('5 seconds');
select currant.enqueue('f', '{}', '{"queue": "views", "delay": 60}') as later \gset
select currant.enqueue('w', '{}', '{"queue": "views", "kind": "workflow"}') as workflow \gset
select is(
    test.stats('views'), '4 ready, 1 delayed, 0 running, oldest 00:00',
    'ready and delayed executions are counted'
);
select test.activate(:'worker', :'workflow', test.command(1, 'timer', null, '{"seconds": 5}')) as word \gset
select is(test.stats('views'), '3 ready, 1 delayed, 0 running, oldest 00:00', 'a workflow that waits is neither');
select count(currant.signal(:'workflow', 's', to_jsonb(n))) from generate_series(1, 5) as n \gset
select is(test.stats('views'), '4 ready, 1 delayed, 0 running, oldest 00:00', 'one that is woken counts once');
select count(*) from currant.claim(:'worker', '{views}', 2, 1) \gset
select is(test.stats('views'), '1 ready, 1 delayed, 3 running, oldest 00:00', 'what is leased is running');
select is((select running from currant.worker_heartbeats where worker_id = :'worker'), 3::bigint, 'by its worker');

select results_eq(
    format(
        $$ select is_applied, payload from currant.workflow_signals where execution_id = %L order by payload $$,
        :'workflow'
    ),
    $$ select false, to_jsonb(n) from generate_series(1, 5) as n $$, 'signals are listed before they are applied'
);
select currant.advance(
    :'worker', :'workflow', token, last_event,
    array(select (value ->> 'arrival')::bigint from jsonb_array_elements(inbox) limit 2), '[]'
) as word
from currant.resume(:'worker') where kind = 'workflow' \gset
select results_eq(
    format(
        $$ select is_applied, count(*) from currant.workflow_signals where execution_id = %L group by 1 order by 1 $$,
        :'workflow'
    ),
    $$ values (false, 3::bigint), (true, 2) $$, 'and after'
);

select results_eq(
    format($$ select status, waits_for, due_at from currant.execution_status where id = %L $$, :'later'),
    $$ values ('pending', 'its start time', timestamptz '2030-01-01 00:01:05+00') $$,
    'executions are listed with why they wait'
);
select results_eq(
    $$ select status, count(*) from currant.execution_status where queue = 'views' group by status order by status $$,
    $$ values ('pending', 2::bigint), ('running', 2), ('suspended', 1) $$, 'each in one status'
);
select results_eq(
    format($$ select s.status, s.waits_for, s.attempt from currant.status(%L) as s $$, :'workflow'),
    format($$ select s.status, s.waits_for, s.attempt from currant.execution_status as s where id = %L $$, :'workflow'),
    'status says the same as the view'
);

update currant.workers set heartbeat_at = clock_timestamp() where id = :'worker';
select is(
    (select is_alive from currant.worker_heartbeats where worker_id = :'worker'), true,
    'a worker that was heard of is alive'
);
update currant.workers set heartbeat_at = clock_timestamp() - interval '31 seconds' where id = :'worker';
select is(
    (select is_alive from currant.worker_heartbeats where worker_id = :'worker'), false,
    'one that was not does not count as alive, declared dead or not'
);

select * from finish();
rollback;

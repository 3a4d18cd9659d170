-- register_worker and deregister_worker: who is there.

begin;

\ir lib/helpers.psql

select plan(32);

select test.stop_clock('2030-01-01 00:00:00+00');
select is(
    currant.register_worker('{"id": "00000000-0000-7000-8000-0000000000aa", "host": "h", "pid": 7, "queues": ["a", "b"],
        "concurrency": 3, "heartbeat_timeout": 10, "functions": [{"name": "known_to_it", "queue": "a"}]}'),
    '00000000-0000-7000-8000-0000000000aa', 'a worker may bring its id'
);
select results_eq(
    $$ select host, pid, queues, concurrency, running, started_at, heartbeat_at, heartbeat_timeout
        from currant.worker_heartbeats where worker_id = '00000000-0000-7000-8000-0000000000aa' $$,
    $$ values ('h', 7, array['a', 'b'], 3, 0::bigint, timestamptz '2030-01-01 00:00:00+00',
        timestamptz '2030-01-01 00:00:00+00', interval '10 seconds') $$,
    'it is listed with what it said'
);
select ok(exists (select from currant.functions where name = 'known_to_it'), 'its functions are declared');
select is(
    currant.register_worker('{"id": "00000000-0000-7000-8000-0000000000aa"}'), '00000000-0000-7000-8000-0000000000aa',
    'a repeated call returns the id again'
);
select is(
    (select count(*) from currant.workers where id = '00000000-0000-7000-8000-0000000000aa'), 1::bigint,
    'and adds nobody'
);
select currant.register_worker('{}') as plain \gset
select is((select queues from currant.workers where id = :'plain'), '{}', 'everything is optional');
select is(
    (select heartbeat_timeout from currant.workers where id = :'plain'), '30 seconds',
    'it has half a minute for its heartbeat'
);

select throws_ok(
    format($$ select currant.register_worker(%L) $$, o.options), '22023', null, format('refused: %s', o.options)
)
from (values
    (null), ('[]'), ('{"name": "w"}'), ('{"id": "x"}'), ('{"host": 5}'), ('{"pid": "7"}'), ('{"pid": 1.5}'),
    ('{"queues": "a"}'), ('{"queues": [null]}'), ('{"queues": [5]}'), ('{"concurrency": "many"}'),
    ('{"concurrency": 1.5}'), ('{"functions": {}}'), ('{"functions": [{"name": "f", "x": 1}]}'),
    ('{"heartbeat_timeout": 0}'), ('{"heartbeat_timeout": "x"}')
) as o (options);

update currant.workers set died_at = currant._now() where id = '00000000-0000-7000-8000-0000000000aa';
select throws_ok(
    $$ select currant.register_worker('{"id": "00000000-0000-7000-8000-0000000000aa"}') $$, 'KR002', null,
    'one that was declared dead has to come under a new id'
);

-- Goodbye.
select test.worker('goodbye') as worker \gset
select currant.enqueue('f', '{}', '{"queue": "goodbye", "retries": 0}') as task \gset
select currant.enqueue('w', '{}', '{"queue": "goodbye", "kind": "workflow"}') as workflow \gset
select count(*) from currant.claim(:'worker', '{goodbye}', 5, 5) \gset
select is(currant.deregister_worker(:'worker'), 2, 'who says goodbye gives back what it holds');
select is_empty(
    format($$ select * from currant.worker_heartbeats where worker_id = %L $$, :'worker'), 'and is forgotten'
);
select throws_ok(
    format($$ select currant.claim(%L, '{goodbye}', 1) $$, :'worker'), 'KR002', null, 'it claims nothing any more'
);
select is(currant.deregister_worker(:'worker'), 0, 'saying it again is no error');
select test.worker('goodbye') as next \gset
select results_eq(
    format($$ select execution_id, attempt from currant.claim(%L, '{goodbye}', 5, 5) $$, :'next'),
    format($$ values (%L::uuid, 1), (%L::uuid, 1) $$, :'task', :'workflow'),
    'the next worker gets its work, for the same attempts'
);
select is((currant.status(:'task')).attempts, '[]', 'no attempt was lost');
select is(currant.cancel(:'task'), 'running', 'a task may be cancelled meanwhile');
select is(currant.deregister_worker(:'next'), 2, 'before its worker says goodbye');

select * from finish();
rollback;

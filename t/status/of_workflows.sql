-- status: a workflow in each of its states.

begin;

\ir ../lib/helpers.psql

select plan(23);

set local timezone = 'GMT';
select test.stop_clock('2030-01-01 00:00:00+00');
select test.worker('flows') as worker \gset
create function test.line(id uuid) returns text language sql as $$
    select format(
        '%s, attempt %s, started %s, waits for %s', s.status, s.attempt,
        coalesce(to_char(s.started_at at time zone 'utc', 'MI:SS'), 'not'), coalesce(s.waits_for, 'nothing')
    ) from currant.status(line.id) as s
$$;

select currant.enqueue('w', '{}', '{"queue": "flows", "kind": "workflow", "delay": 5}') as id \gset
select is(test.line(:'id'), 'pending, attempt 1, started not, waits for its start time', 'delayed');
select test.pass('5 seconds');
select (currant.tick('due')).done \gset
select is(test.line(:'id'), 'pending, attempt 1, started not, waits for a free worker on queue flows', 'ready');
select token from currant.claim(:'worker', '{flows}', 0, 1) \gset
select is(test.line(:'id'), 'running, attempt 1, started 00:05, waits for nothing', 'in its first activation');
select test.pass('1 second');
select currant.advance(:'worker', :'id', :token, 0, '{}', jsonb_build_array(
    test.command(1, 'task', 'f', '{"id": "00000000-0000-7000-8000-0000000000d1", "options": {"queue": "steps"}}'),
    test.command(2, 'task', 'f', '{"id": "00000000-0000-7000-8000-0000000000d2", "options": {"queue": "steps"}}')
)) as word \gset
select is(test.line(:'id'), 'suspended, attempt 1, started 00:05, waits for 2 open task(s)', 'waiting for tasks');
select token from currant.claim(:'worker', '{steps}', 1) \gset
select is(
    (currant.status('00000000-0000-7000-8000-0000000000d1')).parent_id, :'id', 'a task of it names it as its parent'
);
select is((currant.status('00000000-0000-7000-8000-0000000000d1')).root_id, :'id', 'and as its root');
select currant.complete(:'worker', '00000000-0000-7000-8000-0000000000d1', :token, '1') as word \gset
select is(
    test.line(:'id'), 'suspended, attempt 1, started 00:05, waits for a free worker on queue flows',
    'woken by the end of a task'
);
select test.pass('1 second');
select token, last_event from currant.claim(:'worker', '{flows}', 0, 1) \gset
select is(test.line(:'id'), 'running, attempt 1, started 00:05, waits for nothing', 'in its second activation');
select currant.release(:'worker', :'id', :token) as word \gset
select currant.cancel('00000000-0000-7000-8000-0000000000d2') as word \gset
select test.activate(:'worker', :'id', test.command(3, 'timer', null, '{"seconds": 60}', 3)) as word \gset
select is(test.line(:'id'), 'suspended, attempt 1, started 00:05, waits for a timer', 'asleep');
select is((currant.status(:'id')).due_at, '2030-01-01 00:01:07+00', 'until then');
select test.pass('1 minute');
select (currant.tick('due')).done \gset
select test.activate(:'worker', :'id') as word \gset
select is(test.line(:'id'), 'suspended, attempt 1, started 00:05, waits for a signal', 'with nothing else open');
select currant.signal(:'id', 's') as arrival \gset
select test.activate(:'worker', :'id', '[]', '{"blocked": "code has changed"}') as word \gset
select is(test.line(:'id'), 'blocked, attempt 1, started 00:05, waits for blocked: code has changed', 'blocked');
select test.pass('10 minutes');
select (currant.tick('due')).done \gset
select is(
    test.activate(:'worker', :'id', test.command(null, 'fail', null, '{"error": {"type": "E", "message": "m"}}', 5)),
    'accepted', 'when it can run again'
);
select is(test.line(:'id'), 'failed, attempt 1, started 00:05, waits for nothing', 'failed');
select is((currant.status(:'id')).error, '{"type": "E", "message": "m"}', 'with its error');
select is((currant.status(:'id')).finished_at, '2030-01-01 00:11:07+00', 'and the time of its end');

select currant.enqueue('w', '{}', '{"queue": "flows", "kind": "workflow"}') as saying \gset
select test.activate(:'worker', :'saying', '[]', '{"waits_for": "signal approve"}') as word \gset
select is((currant.status(:'saying')).waits_for, 'signal approve', 'a workflow may say itself what it waits for');
select currant.signal(:'saying', 's') as arrival \gset
select test.activate(:'worker', :'saying') as word \gset
select is((currant.status(:'saying')).waits_for, 'a signal', 'which holds until its next activation');

-- What it has not read.
select is((currant.status(:'saying')).unread_signals, '[]', 'signals that were applied are not listed');
select test.stop_clock('2030-01-02 00:00:00+00');
select currant.signal(:'saying', 'b', '"secret"') as arrival \gset
select test.pass('1 second');
select currant.signal(:'saying', 'a') as arrival \gset
select is(
    (currant.status(:'saying')).unread_signals,
    '[{"name": "b", "arrived_at": "2030-01-02T00:00:00+00:00"}, {"name": "a", "arrived_at": "2030-01-02T00:00:01+00:00"}]',
    'those that wait are, by name, in the order of arrival'
);
select currant.cancel(:'saying', null, '{"force": true}') as word \gset
select is(
    (select jsonb_path_query_array(s.unread_signals, '$[*].name') from currant.status(:'saying') as s), '["b", "a"]',
    'also when it has ended'
);
select currant.enqueue('w', '{}', '{"queue": "flows", "kind": "workflow"}') as flooded \gset
select count(currant.signal(:'flooded', n::text)) from generate_series(1, 101) as n \gset
select is(
    (select jsonb_array_length(s.unread_signals) || ' up to ' || (s.unread_signals -> -1 ->> 'name')
    from currant.status(:'flooded') as s),
    '100 up to 100', 'the first hundred'
);
select currant.enqueue('f', '{}', '{"queue": "flows"}') as task \gset
select is((currant.status(:'task')).unread_signals, '[]', 'a task has none');

select * from finish();
rollback;

-- status: a task in each of its states.

begin;

\ir ../lib/helpers.psql

select plan(16);

select test.stop_clock('2030-01-01 00:00:00+00');
select test.worker('status') as worker \gset
create function test.line(id uuid) returns text language sql as $$
    select format(
        '%s, attempt %s, started %s, finished %s, due %s, waits for %s', s.status, s.attempt,
        coalesce(to_char(s.started_at at time zone 'utc', 'MI:SS'), 'not'),
        coalesce(to_char(s.finished_at at time zone 'utc', 'MI:SS'), 'not'),
        coalesce(to_char(s.due_at at time zone 'utc', 'MI:SS'), 'not'), coalesce(s.waits_for, 'nothing')
    ) from currant.status(line.id) as s
$$;

select currant.enqueue('f', '{}', '{"queue": "status", "delay": 10, "retries": 1}') as id \gset
select is(
    test.line(:'id'), 'pending, attempt 1, started not, finished not, due 00:10, waits for its start time', 'delayed'
);
select test.pass('10 seconds');
select (currant.tick('due')).done \gset
select is(
    test.line(:'id'),
    'pending, attempt 1, started not, finished not, due not, waits for a free worker on queue status', 'ready'
);
select token from currant.claim(:'worker', '{status}', 1) \gset
select is(
    test.line(:'id'), 'running, attempt 1, started 00:10, finished not, due not, waits for nothing', 'running'
);
select test.pass('5 seconds');
select currant.release(:'worker', :'id', :token, 'worker at 00:10 does not know f') as word \gset
select matches(
    test.line(:'id'),
    '^pending, attempt 1, started not, finished not, due 00:.., waits for worker at 00:10 does not know f$',
    'given back with a reason'
);
select test.pass('1 minute');
select (currant.tick('due')).done \gset
select token from currant.claim(:'worker', '{status}', 1) \gset
select currant.fail(:'worker', :'id', :token, '{"type": "ValueError", "message": "odd"}', '10 seconds') as word \gset
select is(
    test.line(:'id'), 'pending, attempt 2, started not, finished not, due 01:25, waits for its next attempt',
    'failed once'
);
select test.pass('10 seconds');
select (currant.tick('due')).done \gset
select token from currant.claim(:'worker', '{status}', 1) \gset
select is(
    test.line(:'id'), 'running, attempt 2, started 01:25, finished not, due not, waits for nothing', 'running again'
);
select test.pass('5 seconds');
select currant.fail(:'worker', :'id', :token, '{"type": "ValueError", "message": "odd again"}') as word \gset
select is(
    test.line(:'id'), 'failed, attempt 2, started 01:25, finished 01:30, due not, waits for nothing', 'failed'
);
select is(
    (currant.status(:'id')).error, '{"type": "ValueError", "message": "odd again"}', 'its error is the last one'
);
select is((currant.status(:'id')).result, null, 'it has no result');
select is(
    (select jsonb_path_query_array(attempts, '$[*].attempt') from currant.status(:'id')), '[1, 2]',
    'its attempts are listed in order'
);
select is(
    (select error_message from currant.execution_status where id = :'id'), 'ValueError: odd again',
    'the view has the error in one line'
);

select currant.enqueue('f', '{}', '{"queue": "status"}') as done \gset
select token from currant.claim(:'worker', '{status}', 1) \gset
select test.pass('2 seconds');
select currant.complete(:'worker', :'done', :token, '[1]') as word \gset
select is(
    test.line(:'done'), 'completed, attempt 1, started 01:30, finished 01:32, due not, waits for nothing', 'completed'
);
select is((currant.status(:'done')).result, '[1]', 'its result is shown');
select is((currant.status(:'done')).attempts, '[]', 'no bad attempts');

select currant.enqueue('f', '{}', '{"queue": "status"}') as cancelled \gset
select currant.cancel(:'cancelled') as word \gset
select is(
    test.line(:'cancelled'), 'cancelled, attempt 0, started not, finished 01:32, due not, waits for nothing',
    'cancelled before it began'
);
select throws_ok($$ select currant.status(gen_random_uuid()) $$, 'KR004', null, 'an unknown id is an error');

select * from finish();
rollback;

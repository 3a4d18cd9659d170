-- fail: what follows a bad attempt.

begin;

\ir ../lib/helpers.psql

select plan(24);

select test.stop_clock('2030-01-01 00:00:00+00');
select test.worker('retries') as worker \gset
select currant.enqueue('f', '{}', '{"queue": "retries", "retries": 1, "retry_delay": 10}') as id \gset
select token from currant.claim(:'worker', '{retries}', 1) \gset
select test.pass('2 seconds');

select is(
    currant.fail(:'worker', :'id', :token, '{"type": "ValueError", "message": "no"}'), 'accepted', 'an attempt fails'
);
select is((currant.status(:'id')).status, 'pending', 'the task is to be tried again');
select is((currant.status(:'id')).attempt, 2, 'its second attempt is next');
select is((currant.status(:'id')).waits_for, 'its next attempt', 'its status says so');
select is(
    jsonb_array_length((currant.status(:'id')).attempts), 1, 'the bad attempt is listed'
);
select is(
    (currant.status(:'id')).attempts -> 0 -> 'error', '{"type": "ValueError", "message": "no"}', 'with its error'
);
select is((currant.status(:'id')).attempts -> 0 ->> 'worker', :'worker', 'and its worker');
select is(
    ((currant.status(:'id')).attempts -> 0 ->> 'ended_at')::timestamptz, '2030-01-01 00:00:02+00', 'and its time'
);
select is(
    currant.fail(:'worker', :'id', :token, '{"type": "Again"}'), 'already', 'a repeated call is told so'
);
select is(jsonb_array_length((currant.status(:'id')).attempts), 1, 'and changes nothing');
select is(
    currant.complete(:'worker', :'id', :token, '1') = 'accepted', false, 'a completion that follows is refused'
);

select test.pass('10 seconds');
select (currant.tick('due')).done \gset
select attempt, token as second_token from currant.claim(:'worker', '{retries}', 1) \gset
select is(:attempt, 2, 'after its delay it is claimed for the second attempt');
select is(
    currant.fail(:'worker', :'id', :second_token, '{"type": "ValueError", "message": "still no"}'), 'accepted',
    'which fails, too'
);
select is((currant.status(:'id')).status, 'failed', 'without attempts left the task has failed');
select is((currant.status(:'id')).error ->> 'message', 'still no', 'with the last error');
select is((currant.status(:'id')).attempt, 2, 'after two attempts');
select is(jsonb_array_length((currant.status(:'id')).attempts), 2, 'both are listed');
select is(
    currant.fail(:'worker', :'id', :second_token, '{"type": "Again"}'), 'already', 'a repeated call is told so again'
);

select currant.enqueue('f', '{}', '{"queue": "retries", "retries": 5}') as id \gset
select token from currant.claim(:'worker', '{retries}', 1) \gset
select is(
    currant.fail(:'worker', :'id', :token, '{"type": "E", "retryable": false}'), 'accepted',
    'an error that is not retryable'
);
select is((currant.status(:'id')).status, 'failed', 'fails the task at once');

select currant.enqueue('f', '{}', '{"queue": "retries", "retries": 0}') as id \gset
select token from currant.claim(:'worker', '{retries}', 1) \gset
select currant.fail(:'worker', :'id', :token, '{"type": "E"}') as word \gset
select is((currant.status(:'id')).status, 'failed', 'no retries means one attempt');

select currant.enqueue('f', '{}', '{"queue": "retries"}') as id \gset
select token from currant.claim(:'worker', '{retries}', 1) \gset
select throws_ok(
    format($$ select currant.fail(%L, %L, %s, '"oops"') $$, :'worker', :'id', :token), '22023', null,
    'an error is an object'
);
select throws_ok(
    format($$ select currant.fail(%L, %L, %s, null) $$, :'worker', :'id', :token), '22023', null, 'and not null'
);
select is(
    currant.fail('00000000-0000-7000-8000-000000000000', :'id', :token, '{}'), 'lost', 'nobody fails another''s attempt'
);

select * from finish();
rollback;

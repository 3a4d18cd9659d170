-- cancel: a task in each of its states.

begin;

\ir ../lib/helpers.psql

select plan(31);

select test.stop_clock('2030-01-01 00:00:00+00');
select test.worker('cancel_tasks') as worker \gset

select currant.enqueue('f', '{}', '{"queue": "cancel_tasks"}') as id \gset
select is(currant.cancel(:'id', 'not wanted'), 'cancelled', 'a task that is ready ends at once');
select is((currant.status(:'id')).status, 'cancelled', 'its status says so');
select is(
    (currant.status(:'id')).error, '{"type": "Cancelled", "message": "not wanted", "retryable": false}',
    'with the reason'
);
select is((currant.status(:'id')).started_at, null, 'it was never started');
select is_empty(
    format($$ select * from currant.claim(%L, '{cancel_tasks}', 5) $$, :'worker'), 'nobody gets it any more'
);
select is(currant.cancel(:'id', 'again'), 'cancelled', 'cancelling again says the same');
select is((currant.status(:'id')).error ->> 'message', 'not wanted', 'and changes nothing');

select currant.enqueue('f', '{}', '{"queue": "cancel_tasks", "delay": 60}') as delayed \gset
select is(currant.cancel(:'delayed'), 'cancelled', 'a task that waits for its time ends at once');
select test.pass('2 minutes');
select is((currant.tick('due')).done, 0, 'nothing of it comes back');

select currant.enqueue('f', '{}', '{"queue": "cancel_tasks"}') as retried \gset
select token from currant.claim(:'worker', '{cancel_tasks}', 1) \gset
select currant.fail(:'worker', :'retried', :token, '{"type": "E"}') as word \gset
select is(currant.cancel(:'retried'), 'cancelled', 'so does one that waits for its next attempt');
select is(jsonb_array_length((currant.status(:'retried')).attempts), 1, 'its bad attempt stays listed');
select is((currant.status(:'retried')).attempt, 1, 'it was tried once');

select currant.enqueue('f', '{}', '{"queue": "cancel_tasks"}') as running \gset
select token from currant.claim(:'worker', '{cancel_tasks}', 1) \gset
select is(currant.cancel(:'running', 'stop'), 'running', 'a running task is asked');
select ok((currant.status(:'running')).is_cancel_requested, 'its status shows the request');
select is(currant.cancel(:'running', 'stop!'), 'running', 'asking again is no error');
select is(
    currant.fail(:'worker', :'running', :token, '{"type": "CancelledError"}'), 'accepted', 'when its attempt ends badly'
);
select is((currant.status(:'running')).status, 'cancelled', 'it ends as cancelled, whatever attempts are left');
select is((currant.status(:'running')).error ->> 'message', 'stop', 'for the first reason given');

select currant.enqueue('f', '{}', '{"queue": "cancel_tasks"}') as done \gset
select token from currant.claim(:'worker', '{cancel_tasks}', 1) \gset
select currant.cancel(:'done') as word \gset
select is(currant.complete(:'worker', :'done', :token, '5'), 'accepted', 'it may complete first');
select is((currant.status(:'done')).status, 'completed', 'then it has completed');
select is(currant.cancel(:'done'), 'completed', 'cancelling what has completed says so');
select is(currant.result(:'done'), '5', 'and changes nothing');

select currant.enqueue('f', '{}', '{"queue": "cancel_tasks"}') as given_back \gset
select token from currant.claim(:'worker', '{cancel_tasks}', 1) \gset
select currant.cancel(:'given_back') as word \gset
select is(
    currant.release(:'worker', :'given_back', :token), 'accepted',
    'a request survives that the task is given back'
);
select is((currant.status(:'given_back')).status, 'cancelled', 'it does not run again');

select currant.enqueue('f', '{}', '{"queue": "cancel_tasks"}') as lost \gset
select token from currant.claim(:'worker', '{cancel_tasks}', 1) \gset
select currant.cancel(:'lost') as word \gset
select test.pass('1 minute');
select test.keep_steady();
select is((currant.tick('recover')).done, 1, 'and that its worker is lost');
select is((currant.status(:'lost')).status, 'cancelled', 'again it does not run again');
select is(jsonb_array_length((currant.status(:'lost')).attempts), 1, 'but the attempt was one');

-- A request that a claim meets: the cancel looked while the row was on its way.
select test.worker('cancel_tasks') as next \gset
select currant.enqueue('f', '{}', '{"queue": "cancel_tasks"}') as met \gset
select currant.enqueue('f', '{}', '{"queue": "cancel_tasks"}') as behind \gset
insert into currant.cancels (execution_id, reason, requested_at) values (:'met', 'met', currant._now());
select results_eq(
    format($$ select execution_id from currant.claim(%L, '{cancel_tasks}', 5) $$, :'next'), array[:'behind'::uuid],
    'a claim returns nothing that is to be cancelled'
);
select is((currant.status(:'met')).status, 'cancelled', 'it ends it');

select throws_ok(
    $$ select currant.cancel(gen_random_uuid()) $$, 'KR004', null, 'an unknown execution cannot be cancelled'
);
select throws_ok($$ select currant.cancel(null) $$, 'KR004', null, 'nor can none');

select * from finish();
rollback;

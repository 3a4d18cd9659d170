-- enqueue: idempotency keys. (That a second caller waits for the first one's commit needs two sessions.)

begin;

\ir ../lib/helpers.psql

select plan(14);

select test.worker('keys') as worker \gset

select currant.enqueue('charge', '{"n": 1}', '{"queue": "keys", "key": "k"}') as first \gset
select is(
    currant.enqueue('charge', '{"n": 2}', '{"queue": "keys", "key": "k"}'), :'first',
    'the same function and key give the same execution'
);
select is((currant.status(:'first')).args, '{"n": 1}', 'the first call''s arguments stay');
select is((currant.status(:'first')).key, 'k', 'its status shows the key');
select isnt(
    currant.enqueue('refund', '{}', '{"queue": "keys", "key": "k"}'), :'first',
    'the key of another function is another key'
);
select isnt(currant.enqueue('charge', '{}', '{"queue": "keys", "key": "l"}'), :'first', 'so is another key');
select is(
    currant.enqueue('charge', '{}', '{"queue": "keys", "key": "k", "id": "00000000-0000-7000-8000-0000000000e3"}'),
    :'first', 'a key counts for more than a given id'
);
select throws_ok(
    $$ select currant.status('00000000-0000-7000-8000-0000000000e3') $$, 'KR004', null,
    'the id that did not count does not exist'
);
select is((select ready from currant.queue_stats where queue = 'keys'), 3::bigint, 'nothing was queued twice');

select currant.cancel(:'first') as word \gset
select is(
    currant.enqueue('charge', '{}', '{"queue": "keys", "key": "k"}'), :'first',
    'a key stands for its execution whatever became of it'
);

select currant.enqueue('sync', '{}', '{"queue": "keys", "key": "k", "key_scope": "open"}') as open \gset
select is(
    currant.enqueue('sync', '{}', '{"queue": "keys", "key": "k", "key_scope": "open"}'), :'open',
    'a key of scope open stands for an execution that has not ended'
);
select currant.cancel(:'open') as word \gset
select currant.enqueue('sync', '{}', '{"queue": "keys", "key": "k", "key_scope": "open"}') as next \gset
select isnt(:'next'::uuid, :'open', 'once it has ended the key is free again');
select is((currant.status(:'next')).status, 'pending', 'and the next execution is queued');
select is(
    currant.enqueue('sync', '{}', '{"queue": "keys", "key": "k"}'), :'next', 'the key then stands for that one'
);

select currant.enqueue('charge', '{}', '{"queue": "keys", "key": "m"}') as kept \gset
savepoint before;
select currant.enqueue('charge', '{}', '{"queue": "keys", "key": "n"}') as lost \gset
rollback to savepoint before;
select isnt(
    currant.enqueue('charge', '{}', '{"queue": "keys", "key": "n"}'), :'lost',
    'a key whose enqueue was rolled back is free'
);

select * from finish();
rollback;

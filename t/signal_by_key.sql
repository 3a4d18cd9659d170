-- signal_by_key, and signals that are delivered once for a key of their own.

begin;

\ir lib/helpers.psql

select plan(23);

select test.stop_clock('2030-01-01 00:00:00+00');
select test.worker('by_key') as worker \gset
select currant.enqueue('w', '{}', '{"queue": "by_key", "kind": "workflow", "key": "order 7"}') as id \gset
select currant.enqueue('other', '{}', '{"queue": "by_key_2", "kind": "workflow", "key": "order 7"}') as other \gset

select currant.signal_by_key('w', 'order 7', 'paid', '{"by": "ann"}') as first \gset
select results_eq(
    $$ select workflow_id, arrival, name, payload from currant.inbox $$,
    format($$ values (%L::uuid, %s::bigint, 'paid', '{"by": "ann"}'::jsonb) $$, :'id', :'first'),
    'the signal goes to the workflow of that function that has the key'
);
select cmp_ok(
    currant.signal_by_key('w', 'order 7', 'paid'), '>', :first::bigint, 'without an id or a key of its own each call is another signal'
);

select currant.signal_by_key('w', 'order 7', 'a', '1', '{"key": "message 1"}') as message \gset
select is(
    currant.signal_by_key('w', 'order 7', 'a', '2', '{"key": "message 1"}'), :message::bigint,
    'with one it is delivered once'
);
select is(currant.signal(:'id', 'a', '3', '{"key": "message 1"}'), :message::bigint, 'whichever function delivers it');
select isnt(
    currant.signal(:'id', 'a', '2', '{"key": "message 2"}'), :message::bigint, 'another key is another signal'
);
select isnt(
    currant.signal_by_key('other', 'order 7', 'a', '1', '{"key": "message 1"}'), :message::bigint,
    'a key counts for one workflow'
);
select is((select count(*) from currant.inbox where workflow_id = :'id'), 4::bigint, 'four have arrived');
select is((select count(*) from currant.inbox where workflow_id = :'other'), 1::bigint, 'and one at the other');
select currant.signal(:'id', 'b', '1', '{"id": "00000000-0000-7000-8000-000000000051"}') as by_id \gset
select is(
    currant.signal_by_key('w', 'order 7', 'b', '1', '{"id": "00000000-0000-7000-8000-000000000051"}'), :by_id::bigint,
    'an id does the same'
);

select throws_ok(
    format($$ select currant.signal(%L, 'a', '1',
        '{"key": "k", "id": "00000000-0000-7000-8000-000000000051"}') $$, :'id'), '22023', null, 'but not both'
);
select throws_ok(
    format($$ select currant.signal(%L, 'a', '1', '{"key": ""}') $$, :'id'), '22023', null, 'a key is not empty'
);
select throws_ok(
    format($$ select currant.signal(%L, 'a', '1', jsonb_build_object('key', repeat('x', 1001))) $$, :'id'), '22023',
    null, 'nor longer than others'
);
select throws_ok(
    $$ select currant.signal_by_key('w', 'order 7', 'a', '1', '{"keys": ["k"]}') $$, '22023', null,
    'other options are refused'
);
select throws_ok(
    $$ select currant.signal_by_key('w', 'order 7', '') $$, '22023', null, 'a signal needs a name here, too'
);
select throws_ok(
    $$ select currant.signal_by_key('w', 'order 8', 'a') $$, 'KR004', null, 'nobody has that key'
);
select throws_ok(
    $$ select currant.signal_by_key('v', 'order 7', 'a') $$, 'KR004', null, 'or that function'
);
select throws_ok($$ select currant.signal_by_key(null, null, 'a') $$, 'KR004', null, 'null is no key');
select currant.enqueue('f', '{}', '{"queue": "by_key", "key": "order 7"}') as task \gset
select throws_ok(
    $$ select currant.signal_by_key('f', 'order 7', 'a') $$, '22023', null, 'a task takes no signals'
);

select test.activate(:'worker', :'id', test.command(null, 'complete', null, '{"result": 1}', 5)) as word \gset
select is((currant.status(:'id')).status, 'completed', 'the workflow ends');
select throws_ok(
    $$ select currant.signal_by_key('w', 'order 7', 'a') $$, 'KR003', null, 'its key still stands for it'
);
select is(
    currant.signal_by_key('w', 'order 7', 'a', '1', '{"key": "message 1"}'), :message::bigint,
    'a call repeated after the end is no error'
);

select currant.enqueue(
    'w', '{}', '{"queue": "by_key", "kind": "workflow", "key": "order 7", "key_scope": "open"}'
) as next \gset
select isnt(
    currant.signal_by_key('w', 'order 7', 'a', '1', '{"key": "message 1"}'), :message::bigint,
    'once the key stands for another workflow, that gets what is sent'
);
select is((select count(*) from currant.inbox where workflow_id = :'next'), 1::bigint, 'as a signal of its own');

select * from finish();
rollback;

-- signal: into the inbox of an open workflow, once, in order, at any time of its life.

begin;

\ir lib/helpers.psql

select plan(23);

select test.stop_clock('2030-01-01 00:00:00+00');
select test.worker('signal') as worker \gset
select currant.enqueue('w', '{}', '{"queue": "signal", "kind": "workflow"}') as id \gset

select ok(currant.signal(:'id', 'approve') is not null, 'a workflow that has not begun can be signalled');
select is((currant.status(:'id')).status, 'pending', 'it does not begin because of that');
select is(
    (select inbox #- '{0,arrival}' from currant.claim(:'worker', '{signal}', 0, 1)),
    '[{"kind": "signal_received", "name": "approve", "number": null, "payload": null, "execution_id": null}]',
    'the signal is there when it begins'
);
select ok(currant.signal(:'id', 'approve', '{"by": "ann"}') is not null, 'a workflow that is running can be signalled');
select is(
    (
        select currant.advance(:'worker', :'id', token, 0, array[(inbox -> 0 ->> 'arrival')::bigint], '[]')
        from currant.resume(:'worker')
    ),
    'accepted', 'what it knew of is applied'
);
select is(test.activate(:'worker', :'id'), 'accepted', 'what came meanwhile wakes it');
select is((currant.status(:'id')).waits_for, 'a signal', 'then it waits');

select currant.signal(:'id', 'a', '1', '{"id": "00000000-0000-7000-8000-000000000051"}') as first \gset
select is(
    currant.signal(:'id', 'a', '2', '{"id": "00000000-0000-7000-8000-000000000051"}'), :first::bigint,
    'a signal repeated with its id has the same number'
);
select cmp_ok(currant.signal(:'id', 'b', '3'), '>', :first::bigint, 'another one has a higher one');
select is(
    (select jsonb_path_query_array(inbox, '$[*].payload') from currant.claim(:'worker', '{signal}', 0, 1)),
    '[1, 3]', 'it is delivered once, and the others in order'
);
select is(
    (
        select currant.advance(
            :'worker', :'id', token, last_event,
            array[(inbox -> 0 ->> 'arrival')::bigint, (inbox -> 1 ->> 'arrival')::bigint], '[]'
        )
        from currant.resume(:'worker')
    ), 'accepted', 'both are applied'
);
select is(
    currant.signal(:'id', 'a', '2', '{"id": "00000000-0000-7000-8000-000000000051"}'), :first::bigint,
    'also after it was applied it is known'
);
select is(test.activate(:'worker', :'id'), null, 'and wakes nobody');
select results_eq(
    format($$ select name, payload from currant.history(%L) where kind = 'signal_received' $$, :'id'),
    $$ values ('approve', 'null'::jsonb), ('approve', '{"by": "ann"}'), ('a', '1'), ('b', '3') $$,
    'each is in the history once, in the order of arrival'
);

-- Signals go first, then by arrival.
select currant.enqueue('w', '{}', '{"queue": "signal", "kind": "workflow"}') as second \gset
select test.activate(:'worker', :'second', test.command(1, 'timer', null, '{"seconds": 5}')) as word \gset
select test.pass('5 seconds');
select (currant.tick('due')).done \gset
select currant.signal(:'second', 'late') as arrival \gset
select is(
    (select jsonb_path_query_array(inbox, '$[*].kind') from currant.claim(:'worker', '{signal}', 0, 1)),
    '["signal_received", "timer_fired"]', 'signals are applied before what else has arrived'
);

select throws_ok(
    $$ select currant.signal(gen_random_uuid(), 'a') $$, 'KR004', null, 'nobody is there under an unknown id'
);
select currant.enqueue('f', '{}', '{"queue": "signal"}') as task \gset
select throws_ok(format($$ select currant.signal(%L, 'a') $$, :'task'), '22023', null, 'a task takes no signals');
select throws_ok(format($$ select currant.signal(%L, '') $$, :'id'), '22023', null, 'a signal has a name');
select throws_ok(format($$ select currant.signal(%L, null) $$, :'id'), '22023', null, 'which is not null');
select throws_ok(
    format($$ select currant.signal(%L, 'a', '1', '{"keys": "x"}') $$, :'id'), '22023', null, 'options are checked'
);

select currant.signal(:'id', 'end') as arrival \gset
select test.activate(:'worker', :'id', test.command(null, 'complete', null, '{"result": 1}', 6)) as word \gset
select is((currant.status(:'id')).status, 'completed', 'a workflow ends');
select throws_ok(
    format($$ select currant.signal(%L, 'a') $$, :'id'), 'KR003', null, 'what has ended takes no signals'
);
select is(
    currant.signal(:'id', 'a', '1', '{"id": "00000000-0000-7000-8000-000000000051"}'), :first::bigint,
    'but a repeated one that was delivered is no error'
);

select * from finish();
rollback;

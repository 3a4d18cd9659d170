-- advance: side effects, and cancelling and signalling other executions.

begin;

\ir ../lib/helpers.psql

select plan(28);

select test.stop_clock('2030-01-01 00:00:00+00');
select test.worker('handles') as worker \gset
create function test.flow(key text default null) returns uuid language sql as $$
    select currant.enqueue(
        'w', '{}', jsonb_strip_nulls(jsonb_build_object('queue', 'handles', 'kind', 'workflow', 'key', key))
    )
$$;
create function test.stop(n integer, execution uuid, event integer default 1, reason text default null)
returns jsonb language sql as $$
    select test.command(n, 'request_cancel', null, jsonb_build_object('execution', execution, 'reason', reason), event)
$$;

-- Side effects: whole, in the history, and nothing else.
select test.flow() as id \gset
select is(
    test.activate(:'worker', :'id', jsonb_build_array(
        test.command(1, 'side_effect', 'app.dice', '{"value": {"n": 6}}'),
        test.command(2, 'side_effect', 'app.dice', '{"error": {"type": "ValueError", "message": "no"}}')
    )), 'accepted', 'a workflow records what it did by the way'
);
select results_eq(
    format($$ select kind, number, name, payload from currant.history(%L) where position > 0 $$, :'id'),
    $$ values ('side_effect', 1, 'app.dice', '{"value": {"n": 6}}'::jsonb),
        ('side_effect', 2, 'app.dice', '{"error": {"type": "ValueError", "message": "no"}}') $$,
    'value or error are in the history whole'
);
select is((select last_command from currant.workflows where execution_id = :'id'), 2, 'under numbers of their own');
select currant.signal(:'id', 's') as arrival \gset
select throws_ok(
    format(
        $$ select test.activate(%L, %L, test.command(3, 'side_effect', 'f', jsonb_build_object('value', repeat('x', 2000000)), 2)) $$,
        :'worker', :'id'
    ), 'KR005', null, 'as long as it is not too large'
);

-- Cancelling others: one of each.
select currant.enqueue('f', '{}', '{"queue": "handles_tasks"}') as running \gset
select token from currant.claim(:'worker', '{handles_tasks}', 1) \gset
select currant.enqueue('f', '{}', '{"queue": "handles_tasks"}') as waiting \gset
select test.flow() as new \gset
select test.flow() as begun \gset
select test.activate(:'worker', :'begun') as word \gset
select test.flow() as ended \gset
select test.activate(:'worker', :'ended', test.command(null, 'complete')) as word \gset
select is(
    test.activate(:'worker', :'id', jsonb_build_array(
        test.stop(3, :'running', 2, 'enough'), test.stop(4, :'waiting', 2), test.stop(5, :'new', 2, 'not you'),
        test.stop(6, :'begun', 2, 'please'), test.stop(7, :'ended', 2), test.stop(8, gen_random_uuid(), 2)
    )), 'accepted', 'a workflow may ask for the end of anything'
);
select ok((currant.status(:'running')).is_cancel_requested, 'a running task is asked to stop');
select is((currant.status(:'waiting')).status, 'cancelled', 'one that is not running ends');
select is((currant.status(:'new')).error ->> 'message', 'not you', 'so does a workflow that has not begun');
select is(
    (select payload ->> 'reason' from currant.inbox where workflow_id = :'begun' and kind = 'cancel_requested'), 'please',
    'one that has begun is told'
);
select is((currant.status(:'ended')).status, 'completed', 'what has ended, or never was, does not matter');
select is(test.inbox(:'id'), '[]', 'nobody answers');
select results_eq(
    format($$ select number, payload ->> 'reason' from currant.history(%L) where kind = 'request_cancel' and number < 5 $$, :'id'),
    $$ values (3, 'enough'), (4, null) $$, 'the requests are in the history'
);

-- Itself, its parent, and what it does not own.
select test.flow() as self \gset
select test.activate(:'worker', :'self', test.stop(1, :'self')) as word \gset
select is(
    format('%s: %s', (currant.status(:'self')).status, test.inbox(:'self')),
    'suspended: [["cancel_requested", null, null]]', 'a workflow that asks itself hears of it, even in its first activation'
);
select test.activate(:'worker', :'self', jsonb_build_array(test.stop(2, :'self', 2), test.command(null, 'cancelled', null, null, 2))) as word \gset
select is((currant.status(:'self')).status, 'cancelled', 'also with its end');
select test.flow() as brief \gset
select is(
    test.activate(:'worker', :'brief', jsonb_build_array(test.stop(1, :'brief'), test.command(null, 'complete'))), 'accepted',
    'or in the only activation it has'
);
select is((currant.status(:'brief')).status, 'completed', 'which ends as it says');

select test.flow() as parent \gset
select test.activate(:'worker', :'parent', test.child_command(1, '00000000-0000-7000-8000-00000000cf01')) as word \gset
select currant.signal(:'parent', 's') as arrival \gset
select test.activate(:'worker', :'parent', '[]', '{"blocked": "other code"}') as word \gset
select is(
    test.activate(:'worker', '00000000-0000-7000-8000-00000000cf01', test.stop(1, :'parent')), 'accepted',
    'a child asks for the end of its blocked parent'
);
select is((currant.status(:'parent')).status, 'cancelled', 'which ends at once');
select is(
    test.inbox('00000000-0000-7000-8000-00000000cf01'), '[["cancel_requested", null, null]]',
    'and has the child asked in turn'
);

-- By the id under which a workflow knows what it queued, and by key.
select test.flow('held') as held \gset
select test.activate(:'worker', :'held') as word \gset
select test.flow() as sender \gset
select is(
    test.activate(:'worker', :'sender', jsonb_build_array(
        test.command(1, 'queue', 'w', '{"id": "00000000-0000-7000-8000-00000000cf02",
            "options": {"key": "held", "queue": "handles", "kind": "workflow"}}'),
        test.command(2, 'signal', 'by id', '{"id": "00000000-0000-7000-8000-00000000cf03",
            "execution": "00000000-0000-7000-8000-00000000cf02", "payload": 1}'),
        test.command(3, 'signal', 'by key', '{"id": "00000000-0000-7000-8000-00000000cf04",
            "function": "w", "key": "held", "payload": 2}'),
        test.command(4, 'signal', 'to nobody', '{"id": "00000000-0000-7000-8000-00000000cf05",
            "function": "w", "key": "unheard of", "payload": 3}'),
        test.stop(5, '00000000-0000-7000-8000-00000000cf02')
    )), 'accepted', 'a workflow may use the handle of what it queued'
);
select results_eq(
    format($$ select kind, name, payload -> 'reason' is null from currant.inbox where workflow_id = %L order by arrival $$, :'held'),
    $$ values ('signal_received', 'by id', true), ('signal_received', 'by key', true), ('cancel_requested', null, false) $$,
    'which means the execution that has the key'
);
-- After that has ended and the key has gone to another.
create function test.queue(n integer, id uuid, event integer) returns jsonb language sql as $$
    select test.command(n, 'queue', 'w', jsonb_build_object(
        'id', id, 'options', '{"key": "passed on", "key_scope": "open", "queue": "handles", "kind": "workflow"}'::jsonb
    ), event)
$$;
create function test.attach(n integer, execution uuid, event integer) returns jsonb language sql as $$
    select test.command(n, 'attach', null, jsonb_build_object('execution', execution), event)
$$;
select test.flow('passed on') as first_holder \gset
select test.flow() as user \gset
select test.activate(:'worker', :'user', jsonb_build_array(
    test.queue(1, '00000000-0000-7000-8000-00000000cf06', 1)
)) as word \gset
select currant.cancel(:'first_holder', 'enough') as word \gset
select currant.enqueue(
    'w', '{}', '{"queue": "handles", "kind": "workflow", "key": "passed on", "key_scope": "open"}'
) as stranger \gset
select currant.signal(:'user', 's') as arrival \gset
select is(
    test.activate(:'worker', :'user', jsonb_build_array(
        test.stop(2, '00000000-0000-7000-8000-00000000cf06', 2),
        test.command(3, 'signal', 'by id', '{"id": "00000000-0000-7000-8000-00000000cf07",
            "execution": "00000000-0000-7000-8000-00000000cf06", "payload": 1}', 2),
        test.attach(4, '00000000-0000-7000-8000-00000000cf06', 2)
    )), 'accepted', 'a handle stays that of the execution that had the key'
);
select is((currant.status(:'stranger')).status, 'pending', 'the next one is not cancelled');
select is(test.inbox(:'stranger'), '[]', 'or signalled');
select results_eq(
    format($$ select child_id, payload ->> 'message' from currant.inbox where workflow_id = %L $$, :'user'),
    format($$ values (%L::uuid, 'enough') $$, :'first_holder'), 'and its end is that of the first'
);

select is(
    (select count(*) from currant.workflow_signals where name = 'to nobody'), 0::bigint, 'a signal to nobody goes nowhere'
);
select is(
    (select array_agg(payload order by arrival) from currant.inbox where workflow_id = :'held' and kind = 'signal_received'),
    array['1', '2']::jsonb[], 'with their payloads'
);
select throws_ok(
    format($$ select test.activate(%L, test.flow(), test.stop(1, %L, 1, repeat('x', 2000000))) $$, :'worker', :'held'),
    'KR005', null, 'a reason may be too long'
);

select * from finish();
rollback;

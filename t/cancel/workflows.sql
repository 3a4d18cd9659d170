-- cancel: a workflow in each of its states, and what it had open.

begin;

\ir ../lib/helpers.psql

select plan(30);

select test.stop_clock('2030-01-01 00:00:00+00');
select test.worker('cancel_flows') as worker \gset
create function test.flow() returns uuid language sql as $$
    select currant.enqueue('w', '{}', '{"queue": "cancel_flows", "kind": "workflow"}')
$$;
create function test.child(n integer, id uuid) returns jsonb language sql as $$
    select test.command(
        n, 'task', 'f', jsonb_build_object('id', id, 'options', '{"queue": "cancel_tasks_of_flows"}'::jsonb)
    )
$$;

select test.flow() as id \gset
select currant.signal(:'id', 's') as arrival \gset
select is(currant.cancel(:'id', 'why not'), 'cancelled', 'a workflow that has not begun ends at once');
select is((currant.status(:'id')).error ->> 'message', 'why not', 'with the reason');
select is_empty(format($$ select * from currant.claim(%L, '{cancel_flows}', 0, 5) $$, :'worker'), 'and never runs');
select is(currant.cancel(:'id'), 'cancelled', 'cancelling again says the same');

select test.flow() as parked \gset
select test.activate(:'worker', :'parked') as word \gset
select is(currant.cancel(:'parked', 'enough'), 'suspended', 'one that has begun is asked');
select ok((currant.status(:'parked')).is_cancel_requested, 'its status shows the request');
select is(currant.cancel(:'parked', 'again'), 'suspended', 'asking again is no error');
select results_eq(
    format($$ select jsonb_path_query(inbox, '$[*].kind') ->> 0, jsonb_path_query(inbox, '$[*].payload.reason') ->> 0
        from currant.claim(%L, '{cancel_flows}', 0, 5) $$, :'worker'),
    $$ values ('cancel_requested', 'enough') $$, 'it gets the request once, as an event'
);
select is(currant.cancel(:'parked'), 'running', 'while it runs its status is running');
select is(
    (
        select currant.advance(
            :'worker', :'parked', token, last_event, array[(inbox -> 0 ->> 'arrival')::bigint],
            jsonb_build_array(test.command(null, 'cancelled', null, null, 2))
        ) from currant.resume(:'worker')
    ), 'accepted', 'it ends itself'
);
select is((currant.status(:'parked')).status, 'cancelled', 'as cancelled');
select is((currant.status(:'parked')).error ->> 'type', 'Cancelled', 'with the error of that name');

select test.flow() as caught \gset
select test.activate(:'worker', :'caught') as word \gset
select currant.cancel(:'caught') as word \gset
select test.activate(
    :'worker', :'caught', test.command(null, 'complete', null, '{"result": "cleaned up"}', 2)
) as word \gset
select is((currant.status(:'caught')).status, 'completed', 'one that catches the request may complete');

-- Running for the first time.
select test.flow() as first \gset
select token from currant.claim(:'worker', '{cancel_flows}', 0, 1) \gset
select is(currant.cancel(:'first'), 'running', 'one that is just beginning is asked, too');
select is(
    currant.advance(:'worker', :'first', :token, 0, '{}', jsonb_build_array(test.command(null, 'complete'))),
    'refused', 'and does not end without having seen the request'
);
select is(test.activate(:'worker', :'first'), null, 'as it had not begun, it does not');
select is((currant.status(:'first')).status, 'cancelled', 'it ends as cancelled');

-- Blocked.
select test.flow() as blocked \gset
select test.activate(:'worker', :'blocked') as word \gset
select currant.signal(:'blocked', 's') as arrival \gset
select test.activate(:'worker', :'blocked', '[]', '{"blocked": "non-determinism"}') as word \gset
select is(currant.cancel(:'blocked'), 'cancelled', 'a blocked one, with nobody to ask, ends at once');
select test.flow() as blocking \gset
select token from currant.claim(:'worker', '{cancel_flows}', 0, 1) \gset
select currant.cancel(:'blocking') as word \gset
select is(
    currant.advance(:'worker', :'blocking', :token, 0, '{}', '[]', '{"blocked": "unknown function"}'),
    'accepted', 'one that was asked and then blocks'
);
select is((currant.status(:'blocking')).status, 'cancelled', 'ends at once, too');

-- What it had open: one task ready, one delayed, one running, one ended.
select test.flow() as parent \gset
select test.activate(:'worker', :'parent', jsonb_build_array(
    test.child(1, '00000000-0000-7000-8000-0000000000c1'), test.child(2, '00000000-0000-7000-8000-0000000000c2'),
    test.child(3, '00000000-0000-7000-8000-0000000000c3'), test.command(4, 'timer', null, '{"seconds": 60}')
)) as word \gset
create temporary table leased as
select execution_id as id, token from currant.claim(:'worker', '{cancel_tasks_of_flows}', 2);
select currant.complete(:'worker', id, token, '1') as word from leased where id::text like '00000000-%c1' \gset
select currant.cancel(:'parent') as word \gset
select is(
    test.activate(:'worker', :'parent', test.command(null, 'cancelled', null, null, 3)), 'accepted',
    'a workflow with open tasks ends'
);
select is(
    (currant.status('00000000-0000-7000-8000-0000000000c1')).status, 'completed', 'what had completed stays completed'
);
select is(
    (currant.status('00000000-0000-7000-8000-0000000000c3')).status, 'cancelled', 'what had not begun ends with it'
);
select is((currant.status('00000000-0000-7000-8000-0000000000c2')).status, 'running', 'what is running goes on');
select ok(
    (currant.status('00000000-0000-7000-8000-0000000000c2')).is_cancel_requested, 'but its worker is told to stop'
);
select is(
    (select currant.complete(:'worker', id, token, '2') from leased where id::text like '00000000-%c2'), 'accepted',
    'if it completes all the same'
);
select is(currant.result('00000000-0000-7000-8000-0000000000c2'), '2', 'it keeps its own outcome');
select is(
    (select count(*) from currant.inbox where workflow_id = :'parent')
    + (select count(*) from currant.delayed where execution_id = :'parent')
    + (select count(*) from currant.ready where execution_id = :'parent'),
    0::bigint, 'and nobody is told, neither of it nor of the timer'
);

-- A blocked parent and a child that has not begun, both with a request that nobody could act on, in one claim.
select test.flow() as above \gset
select test.activate(:'worker', :'above', test.command(
    1, 'child', 'w', '{"id": "00000000-0000-7000-8000-0000000000c9", "options": {"queue": "cancel_flows"}}'
)) as word \gset
update currant.workflows set blocked_reason = 'other code' where execution_id = :'above';
insert into currant.cancels (execution_id, requested_at)
values (:'above', currant._now()), ('00000000-0000-7000-8000-0000000000c9', currant._now());
insert into currant.inbox (workflow_id, kind, arrived_at) values (:'above', 'cancel_requested', currant._now());
insert into currant.ready (execution_id, queue, rank, attempt, is_workflow)
values (:'above', 'cancel_flows', -9, 0, true);
select is_empty(format($$ select * from currant.claim(%L, '{cancel_flows}', 0, 5) $$, :'worker'), 'neither is run');
select is(
    array[(currant.status(:'above')).status, (currant.status('00000000-0000-7000-8000-0000000000c9')).status],
    array['cancelled', 'cancelled'], 'the one ends with the other'
);

select * from finish();
rollback;

-- step_many: workflows that end with the results they waited for.

begin;

\ir ../lib/helpers.psql
\ir ../lib/steps.psql

select plan(24);

select test.stop_clock('2030-01-01 00:00:00+00');
select test.worker('steps') as worker \gset

-- A parent, its child, and its grandchild, all in memory.
select test.begin_flow(
    :'worker', test.id(100), test.child_command(1, test.id(200), '{}', 1, 'flow'), test.task(2, test.id(101))
) as begun \gset
select is(
    test.activate(:'worker', test.id(200), jsonb_build_array(
        test.task(1, test.id(201)), test.task(2, test.id(202)), test.child_command(3, test.id(300), '{}', 1, 'flow'),
        test.child_command(4, test.id(310), '{"on_parent_end": "abandon"}', 1, 'flow'),
        test.command(5, 'timer', null, '{"seconds": 60}')
    )), 'accepted', 'a child has much open'
);
select is(test.activate(:'worker', test.id(300), test.task(1, test.id(301))), 'accepted', 'so has its child');
select count(*) from currant.claim(:'worker', '{steps}', 10) \gset
select test.pass('2 seconds');

select is(
    test.said(currant.step_many(
        :'worker', jsonb_build_array(test.ahead(test.id(200), array[test.id(201)], test.finish(2, '"done"')))
    )),
    'accepted; completed accepted; started nothing', 'it ends with a result'
);
select is(currant.result(test.id(200)), '"done"', 'which is its result');
select results_eq(
    $$ select started_at, finished_at, token from currant.outcomes where execution_id = test.id(200) $$,
    $$ values ('2030-01-01 00:00:00+00'::timestamptz, '2030-01-01 00:00:02+00'::timestamptz, null::bigint) $$,
    'it ended under no lease of its own'
);
select results_eq(
    $$ select event, position, kind, number from currant.history(test.id(200)) where event > 1 $$,
    $$ values (2, 0, 'task_completed', 1), (2, 1, 'complete', null) $$, 'its history says so'
);
select is(
    test.told(test.id(100)), 'at event 1, inbox: child_completed, 1 wake rows', 'its parent is told'
);
select results_eq(
    $$ select c.execution_id from currant.cancels as c order by 1 $$,
    array[test.id(202), test.id(300)], 'what it had open is cancelled, but not what outlives it'
);
select is(test.told(test.id(300)), 'at event 1, inbox: cancel_requested, 1 wake rows', 'a child is asked');
select is_empty($$ select from currant.delayed where execution_id = test.id(200) $$, 'no timer is left');
select is_empty($$ select from currant.inbox where workflow_id = test.id(200) $$, 'nor is anything to be told');

-- Failures, and two generations in one call.
select is(
    test.said(currant.step_many(:'worker', jsonb_build_array(
        test.ahead(test.id(300), array[test.id(301)]),
        test.ahead(test.id(100), array[test.id(101)])
    ))),
    'refused refused; completed accepted accepted; started nothing', 'who has something to hear of does not go on'
);
select test.begin_flow(
    :'worker', test.id(400), test.task(1, test.id(401)), test.child_command(2, test.id(500), '{}', 1, 'flow'),
    test.child_command(3, test.id(510), '{}', 1, 'flow'), test.child_command(4, test.id(520), '{}', 1, 'flow')
) as begun \gset
select test.activate(:'worker', test.id(500), test.task(1, test.id(501))) as word \gset
select test.activate(:'worker', test.id(510), test.task(1, test.id(511))) as word \gset
select test.claim_flow(:'worker', test.id(520)) as claimed \gset
select count(*) from currant.claim(:'worker', '{steps}', 10) \gset
select is(
    test.said(currant.step_many(:'worker', jsonb_build_array(
        test.ahead(test.id(500), array[test.id(501)], test.command(null, 'fail', null, '{"error": {"type": "E"}}', 2)),
        test.ahead(
            test.id(400), array[test.id(401)],
            test.command(null, 'fail', null, '{"error": {"type": "ValueError", "message": "no"}}', 2)
        ),
        test.ahead(test.id(510), array[test.id(511)], test.task(2, test.id(512), 2)),
        test.under_lease(:'claimed'::currant.claimed, jsonb_build_array(test.task(1, test.id(521))))
    ))),
    'accepted accepted accepted accepted; completed accepted accepted accepted; started nothing',
    'a parent and its children go on in one call'
);
select results_eq(
    $$ select status, error from currant.outcomes where execution_id in (test.id(400), test.id(500)) order by execution_id $$,
    $$ values ('failed', '{"type": "ValueError", "message": "no"}'::jsonb), ('failed', '{"type": "E"}') $$,
    'each ends as it says'
);
select is_empty($$ select from currant.inbox where workflow_id = test.id(400) $$, 'who has ended is not told');
select is(
    test.told(test.id(510)), 'at event 2, inbox: cancel_requested, 1 wake rows',
    'a child that goes on as its parent ends is asked to end'
);
select is(
    test.told(test.id(520)), 'at event 1, inbox: cancel_requested, 2 wake rows', 'so is one that begins just then'
);

-- Cancelled, and as new.
select test.begin_flow(:'worker', test.id(600), test.task(1, test.id(601))) as begun \gset
select test.begin_flow(:'worker', test.id(610), test.task(1, test.id(611)), test.task(2, test.id(612))) as begun \gset
select count(*) from currant.claim(:'worker', '{steps}', 10) \gset
select is(
    test.said(currant.step_many(:'worker', jsonb_build_array(
        test.ahead(test.id(600), array[test.id(601)], test.command(null, 'cancelled', null, '{"error": null}', 2)),
        test.ahead(test.id(610), array[test.id(611)], test.command(
            null, 'continue_as_new', null, '{"args": [7], "signals": []}', 2
        ))
    ))),
    'accepted accepted; completed accepted accepted; started nothing', 'a workflow may end as cancelled, or continue as new'
);
select is((currant.status(test.id(600))).status, 'cancelled', 'the one has been cancelled');
select isnt_empty($$ select from currant.cancels where execution_id = test.id(612) $$, 'what the other had open is cancelled');
select results_eq(
    $$ select args, first_event, last_event, inbox from test.claim_flow((current_setting('test.worker'))::uuid, test.id(610)) $$,
    $$ values ('[7]'::jsonb, 3, 2, '[]'::jsonb) $$, 'its next run is there to be claimed'
) from set_config('test.worker', :'worker', true);

-- Signals that it has taken in and nobody has read.
select currant.enqueue_and_signal(
    'flow', '{}', 's', '1', jsonb_build_object('queue', 'steps', 'kind', 'workflow', 'key', 'k')
) as keyed \gset
select is(test.activate(:'worker', :'keyed', test.task(1, test.id(701), 2)), 'accepted', 'a workflow takes a signal in');
select count(*) from currant.claim(:'worker', '{steps}', 10) \gset
select is(
    test.said(currant.step_many(:'worker', jsonb_build_array(
        test.ahead(:'keyed', array[test.id(701)], test.finish(3, '1')) || '{"options": {"unread": [2]}}'
    ))),
    'accepted; completed accepted; started nothing', 'and ends without having read it'
);
select is(
    test.told(:'keyed'), 'at event , inbox: signal_received, 1 wake rows', 'then the signal is there for the next one'
);

select * from finish();
rollback;

-- step_many: workflows that go on together with the completions they wait for.

begin;

\ir ../lib/helpers.psql
\ir ../lib/steps.psql

select plan(26);

select test.stop_clock('2030-01-01 00:00:00+00');
select test.worker('steps') as worker \gset

-- One task after the other.
select is(test.begin_flow(:'worker', test.id(100), test.task(1, test.id(101))), 'accepted', 'a workflow asks for a task');
select count(*) from currant.claim(:'worker', '{steps}', 10) \gset
select test.pass('2 seconds');
select test.ahead(test.id(100), array[test.id(101)], test.task(2, test.id(102), 2)) || '{"options": {"waits_for": "step"}}' as ahead \gset

select is(
    test.said(currant.step_many(:'worker', jsonb_build_array(:'ahead'::jsonb))),
    'accepted; completed accepted; started nothing', 'it goes on with the result'
);

select is(currant.result(test.id(101)), '{"of": 1}', 'the result is stored');
select results_eq(
    $$ select event, position, kind, number, name, execution_id, source, at from currant.history(test.id(100)) where event > 1 $$,
    $$ values
        (2, 0, 'task_completed', 1, null, test.id(101), null, '2030-01-01 00:00:02+00'::timestamptz),
        (2, 1, 'task', 2, 'step', test.id(102), 'app.py:7', '2030-01-01 00:00:02+00') $$,
    'the event and its command are in the history, at the time the worker gave'
);
select is(test.told(test.id(100)), 'at event 2, inbox: empty, 0 wake rows', 'nothing is left to be told');
select is((currant.status(test.id(100))).status, 'suspended', 'the workflow is parked');
select is(test.counters(test.id(100)), '1 tasks, 0 children', 'it waits for the next task');
select results_eq(
    $$ select queue, rank, attempt, is_workflow from currant.ready where execution_id = test.id(102) $$,
    $$ values ('steps', 0, 1, false) $$, 'which waits to be claimed, before new work'
);
select results_eq(
    $$ select args, parent_id, command_number, root_id, timeout, created_at from currant.executions where id = test.id(102) $$,
    $$ values (
        '[2]'::jsonb, test.id(100), 2, test.id(100), interval '30 seconds', '2030-01-01 00:00:02+00'::timestamptz
    ) $$,
    'as what the workflow asked for'
);
select results_eq(
    $$ select status, attempt, worker_id, started_at, finished_at from currant.outcomes where execution_id = test.id(101) $$,
    format(
        $$ values ('completed', 1, %L::uuid, '2030-01-01 00:00:00+00'::timestamptz, '2030-01-01 00:00:02+00'::timestamptz) $$,
        :'worker'
    ),
    'the first has ended under its lease'
);
select is_empty('select from currant.leases', 'which is gone');
select is(
    (select used from currant.workflows where execution_id = test.id(100)), '2 seconds', 'the workflow''s own time has run'
);
select is((currant.status(test.id(100))).waits_for, 'step', 'what it waits for is in its status');

-- The answer was lost.
select is(
    test.said(currant.step_many(:'worker', jsonb_build_array(:'ahead'::jsonb))),
    'refused; completed already; started nothing', 'a repeated call does nothing again'
);
select is(test.told(test.id(100)), 'at event 2, inbox: empty, 0 wake rows', 'and tells nobody again');

-- Several results in one activation, in the order in which they are applied.
select is(
    test.begin_flow(
        :'worker', test.id(200), test.task(1, test.id(201)), test.task(2, test.id(202)), test.task(3, test.id(203))
    ),
    'accepted', 'another asks for three'
);
select count(*) from currant.claim(:'worker', '{steps}', 10) \gset
select is(
    test.said(currant.step_many(:'worker', jsonb_build_array(test.ahead(
        test.id(200), array[test.id(203), test.id(201)],
        test.task(4, test.id(204), 3), test.task(5, test.id(205), 3), test.command(6, 'timer', null, '{"seconds": 60}', 2),
        test.command(2, 'cancel', null, null, 3)
    )))),
    'accepted; completed accepted accepted; started nothing', 'it goes on with two results at once'
);
select results_eq(
    $$ select event, position, kind, number from currant.history(test.id(200)) where event > 1 $$,
    $$ values
        (2, 0, 'task_completed', 3), (2, 1, 'timer', 6),
        (3, 0, 'task_completed', 1), (3, 1, 'task', 4), (3, 2, 'task', 5), (3, 3, 'cancel', 2) $$,
    'each has its event, and the commands theirs'
);
select is(test.counters(test.id(200)), '3 tasks, 0 children', 'every task is counted');
select results_eq(
    $$ select kind, number, due_at from currant.delayed where execution_id = test.id(200) and kind = 'timer' $$,
    $$ values ('timer', 6, '2030-01-01 00:01:02+00'::timestamptz) $$, 'a timer runs from the time of its event'
);
select isnt_empty('select from currant.cancels where execution_id = test.id(202)', 'a task is asked to stop');

-- Several workflows, of both sorts, in one call; also one whose result nobody has computed anything from.
select currant.enqueue('flow', '{}', jsonb_build_object('id', test.id(300))) as id \gset
select is(
    test.said(currant.step_many(:'worker', jsonb_build_array(
        test.ahead(test.id(100), array[test.id(102)]) #- '{completions,0,result}',
        test.under_lease(test.claim_flow(:'worker', test.id(300)), jsonb_build_array(
            test.task(1, test.id(301)), test.child_command(2, test.id(302), '{}', 1, 'flow')
        ))
    ))),
    'accepted accepted; completed accepted; started nothing', 'workflows advance under their leases in the same call'
);
select is(currant.result(test.id(102)), 'null', 'a completion without a result is one with null');
select is(test.told(test.id(100)), 'at event 3, inbox: empty, 0 wake rows', 'an activation may cause nothing');
select is(test.counters(test.id(300)), '1 tasks, 1 children', 'a first activation asks for what it wants');
select is(
    currant.step_many(:'worker', '[]')::jsonb, '{"words": [], "completed": [], "started": []}', 'nothing to commit is no error'
);

select * from finish();
rollback;

-- step_many: tasks that are leased to the worker in the same call that asks for them.

begin;

\ir ../lib/helpers.psql
\ir ../lib/steps.psql

select plan(19);

select test.stop_clock('2030-01-01 00:00:00+00');
select test.worker('steps') as worker \gset
select test.begin_flow(:'worker', test.id(100), test.task(1, test.id(101))) as begun \gset
select count(*) from currant.claim(:'worker', '{steps}', 10) \gset
select test.pass('2 seconds');

create temp table answers as
select currant.step_many(
    :'worker',
    jsonb_build_array(test.ahead(
        test.id(100), array[test.id(101)],
        test.task(2, test.id(102), 2, '{"delay": 60}'), test.task(3, test.id(103), 2, '{"queue": "elsewhere"}'),
        test.child_command(4, test.id(104), '{}', 2, 'flow'), test.task(5, test.id(105), 2, '{"headers": {"h": 1}}'),
        test.task(6, test.id(106), 2, '{"priority": 9, "retries": 4, "timeout": 7}'), test.task(7, test.id(107), 2),
        test.task(8, test.id(108), 2), test.command(8, 'cancel', null, null, 2)
    )),
    '{"queues": ["others", "steps"], "slots": 2}'
) as answer;

select is(
    test.said((select answer from answers)), 'accepted; completed accepted; started 105 106',
    'as many as there are slots for are leased, in the order asked for'
);
select is(
    (select (answer -> 'started' -> 0)::jsonb from answers),
    jsonb_build_array(
        test.id(105), (select token from currant.leases where execution_id = test.id(105)), 'step', 1, 'steps', 1, 4,
        '[5]'::jsonb, '{"h": 1}'::jsonb, test.id(100), 5, test.id(100), '2030-01-01 00:00:02+00'::timestamptz,
        '2030-01-01 00:00:02+00'::timestamptz, 30
    ),
    'the worker learns all that a claim would tell'
);
select results_eq(
    $$ select worker_id, attempt, is_workflow, parent_id, command_number, claimed_at, deadline_at
    from currant.leases where execution_id = test.id(106) $$,
    format(
        $$ values (
            %L::uuid, 1, false, test.id(100), 6, '2030-01-01 00:00:02+00'::timestamptz, '2030-01-01 00:00:09+00'::timestamptz
        ) $$, :'worker'
    ),
    'they are leases as any other, with their deadlines'
);
select is((currant.status(test.id(106))).status, 'running', 'these tasks are running');
select results_eq(
    $$ select execution_id, is_workflow from currant.ready order by seq $$,
    $$ values (test.id(103), false), (test.id(104), true), (test.id(107), false) $$,
    'what is in other queues, child workflows, and what there is no slot for, waits to be claimed'
);
select results_eq(
    $$ select execution_id, due_at from currant.delayed where kind = 'start' $$,
    $$ values (test.id(102), '2030-01-01 00:01:02+00'::timestamptz) $$, 'what is to begin later is not begun now'
);
select is_empty($$ select from currant.executions where id = test.id(108) $$, 'nor what is cancelled at once');
select is(test.counters(test.id(100)), '5 tasks, 1 children', 'all are counted');
select set_eq(
    format($$ select execution_id from currant.resume(%L) $$, :'worker'),
    array[test.id(105), test.id(106)], 'a worker that never saw the answer finds them again'
);
select is(
    currant.complete(
        :'worker', test.id(106), (select token from currant.leases where execution_id = test.id(106)), '6'
    ),
    'accepted', 'one completes alone'
);
select is(test.told(test.id(100)), 'at event 2, inbox: task_completed, 1 wake rows', 'and its workflow is told');
select is(
    currant.fail(
        :'worker', test.id(105), (select token from currant.leases where execution_id = test.id(105)), '{"type": "E"}'
    ),
    'accepted', 'another fails'
);
select results_eq(
    $$ select attempt from currant.delayed where execution_id = test.id(105) and kind = 'retry' $$, array[2],
    'the attempt that began at once was its first'
);

-- Activations under leases, and in what order slots are given.
create temp table begun as
select currant.enqueue('flow', '{}', jsonb_build_object('id', test.id(200 + n))) from generate_series(0, 20, 10) as g (n);
select test.said(currant.step_many(
    :'worker',
    (
        select jsonb_agg(
            test.under_lease(c, jsonb_build_array(
                test.task(1, (replace(c.execution_id::text, '0000000002', '0000000003'))::uuid),
                test.task(2, (replace(c.execution_id::text, '0000000002', '0000000004'))::uuid)
            ))
            order by c.execution_id
        )
        from currant.claim(:'worker', '{steps}', 0, 10) as c
        where c.execution_id <> all (array[test.id(100), test.id(104)])
    ),
    '{"queues": ["steps"], "slots": 3}'
)) as said \gset
select is(
    :'said'::text, 'accepted accepted accepted; completed ; started 300 400 310',
    'first activations lease tasks too, one activation after the other'
);
select is((select count(*) from currant.ready where execution_id in (test.id(410), test.id(320), test.id(420))), 3::bigint, 'the rest waits');

-- A worker without a slot, or that does not ask.
select test.begin_flow(:'worker', test.id(500), test.task(1, test.id(501))) as begun \gset
select count(*) from currant.claim(:'worker', '{steps}', 100) \gset
select is(
    test.said(currant.step_many(
        :'worker', jsonb_build_array(test.ahead(test.id(500), array[test.id(501)], test.task(2, test.id(502), 2))),
        '{"queues": ["steps"], "slots": 0}'
    )),
    'accepted; completed accepted; started nothing', 'without a slot nothing is leased'
);
select count(*) from currant.claim(:'worker', '{steps}', 100) \gset
select is(
    test.said(currant.step_many(
        :'worker',
        jsonb_build_array(test.ahead(
            test.id(500), array[test.id(502)], test.task(3, test.id(503), 3), test.finish(3, '1')
        )),
        '{"queues": ["steps"], "slots": 5}'
    )),
    'accepted; completed accepted; started nothing', 'a workflow that ends starts nothing'
);
select is_empty($$ select from currant.executions where id = test.id(503) $$, 'the task is not even made');
select test.begin_flow(:'worker', test.id(600), test.task(1, test.id(601))) as begun \gset
select count(*) from currant.claim(:'worker', '{steps}', 100) \gset
select is(
    test.said(currant.step_many(
        :'worker',
        jsonb_build_array(test.ahead(
            test.id(600), array[test.id(601)],
            test.task(2, test.id(602), 2), test.task(3, test.id(603), 2, '{"priority": 5}'),
            test.task(4, test.id(604), 2), test.task(5, test.id(605), 2, '{"priority": 7}')
        )),
        '{"queues": ["steps"], "slots": 3}'
    )),
    'accepted; completed accepted; started 602 603 605', 'if there are not slots for all, priority counts'
);

select * from finish();
rollback;

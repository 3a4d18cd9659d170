-- advance: child workflows, from the command to the event.

begin;

\ir ../lib/helpers.psql

select plan(38);

select test.stop_clock('2030-01-01 00:00:00+00');
select test.worker('children') as worker \gset
select currant.register_functions('[
    {"name": "child", "kind": "workflow", "timeout": 77, "priority": 2, "version": 3},
    {"name": "far", "kind": "workflow", "queue": "far"}
]') as n \gset
select currant.enqueue(
    'parent', '{}', '{"queue": "children", "kind": "workflow", "priority": 1, "headers": {"h": 1}}'
) as id \gset
\set one 00000000-0000-7000-8000-00000000ca01
\set two 00000000-0000-7000-8000-00000000ca02
\set three 00000000-0000-7000-8000-00000000ca03
\set four 00000000-0000-7000-8000-00000000ca04
\set five 00000000-0000-7000-8000-00000000ca05
\set task 00000000-0000-7000-8000-00000000ca06

select is(test.activate(:'worker', :'id', jsonb_build_array(
    test.command(1, 'child', 'child', jsonb_build_object('id', :'one'::uuid, 'args', '{"x": 1}'::jsonb)),
    test.child_command(2, :'two', '{"priority": -5, "timeout": 9, "headers": {"h": 2}, "retries": 4}', 1, 'far'),
    test.child_command(3, :'three', '{"queue": "children_mine", "delay": 60, "on_parent_end": "abandon"}', 1, 'unheard of'),
    test.child_command(4, :'four'),
    test.command(4, 'cancel'),
    test.child_command(5, :'five', '{"queue": "children_unserved"}'),
    test.command(6, 'task', 'f', jsonb_build_object('id', :'task'::uuid, 'options', '{"queue": "children"}'::jsonb))
)), 'accepted', 'a workflow asks for others');

select results_eq(
    $$ select kind, function, version, queue, priority, status, max_attempts, args
    from currant.status('00000000-0000-7000-8000-00000000ca01') $$,
    $$ values ('workflow', 'child', 3, 'children', 2, 'pending', 1, '{"x": 1}'::jsonb) $$,
    'a child is a workflow as its declaration says, in the queue of its parent if that names none'
);
select results_eq(
    $$ select e.parent_id, e.command_number, e.root_id, e.timeout, e.on_parent_end
    from currant.executions as e where e.id = '00000000-0000-7000-8000-00000000ca01' $$,
    format($$ values (%1$L::uuid, 1, %1$L::uuid, interval '77 seconds', 'cancel') $$, :'id'),
    'it belongs to its parent and is cancelled with it, unless it says otherwise'
);
select results_eq(
    $$ select queue, priority, max_attempts, headers, (select timeout from currant.executions as e where e.id = s.id)
    from currant.status('00000000-0000-7000-8000-00000000ca02') as s $$,
    $$ values ('far', -5, 1, '{"h": 2}'::jsonb, interval '9 seconds') $$,
    'or as the options of the call say; a workflow has one attempt'
);
select results_eq(
    $$ select s.queue, s.waits_for, e.on_parent_end
    from currant.status('00000000-0000-7000-8000-00000000ca03') as s join currant.executions as e on e.id = s.id $$,
    $$ values ('children_mine', 'its start time', 'abandon') $$,
    'it may begin later, and may be told to outlive its parent'
);
select throws_ok(
    format($$ select currant.status(%L) $$, :'four'), 'KR004', null,
    'one cancelled in the same commit is never made'
);
select results_eq(
    format(
        $$ select kind, number, name, payload, execution_id from currant.history(%L)
        where position > 0 and (number in (2, 4)) order by position $$, :'id'
    ),
    $$ values
        ('child', 2, 'far', '{"priority": -5, "timeout": 9, "headers": {"h": 2}, "retries": 4}'::jsonb,
            '00000000-0000-7000-8000-00000000ca02'::uuid),
        ('child', 4, 'child', '{}', '00000000-0000-7000-8000-00000000ca04'),
        ('cancel', 4, null, null, null) $$,
    'the history has the commands, with the options'
);
select is(test.counters(:'id'), '1 tasks, 4 children', 'tasks and children are counted apart');
select is(
    (currant.status(:'id')).waits_for, '1 open task(s), 4 child workflow(s)', 'what the parent waits for is in its status'
);
select is(
    (select array_agg(r.rank order by r.execution_id) from currant.ready as r where r.is_workflow), array[-4, 10, -4],
    'a child goes before new work of its priority'
);
select is(
    (select array_agg(w.rank order by w.execution_id) from currant.workflows as w where w.execution_id <> :'id'),
    array[-4, 10, 0, -4], 'so do the events of it'
);

-- A child is run like any other workflow.
select is(test.activate(:'worker', :'one', test.command(1, 'timer', null, '{"seconds": 5}')), 'accepted', 'a child begins');
select test.pass('5 seconds');
select currant.tick('due') as ticked \gset
select is(
    test.activate(:'worker', :'one', test.command(null, 'complete', null, '{"result": [1]}', 2)), 'accepted', 'and ends'
);
select is(currant.result(:'one'), '[1]', 'with a result of its own');
select is(test.inbox(:'id'), format('[["child_completed", 1, "%s"]]', :'one')::jsonb, 'its parent is told');
select is(
    (select count(*) from currant.ready where execution_id = :'id'), 1::bigint, 'and woken'
);
select is((select payload from currant.inbox where workflow_id = :'id'), null, 'the result is not copied');
select results_eq(
    format(
        $$ select i.value ->> 'kind', i.value -> 'number', i.value -> 'payload', i.value ->> 'execution_id'
        from currant.claim(%L, '{children}', 0, 1) as c cross join jsonb_array_elements(c.inbox) as i (value)
        where c.execution_id = %L $$, :'worker', :'id'
    ),
    format($$ values ('child_completed', '1'::jsonb, '[1]'::jsonb, %L) $$, :'one'), 'but arrives with the event'
);
select is(test.counters(:'id'), '1 tasks, 4 children', 'the end counts when it is applied');
select currant.advance(
    :'worker', :'id', token, 1, array(select (value ->> 'arrival')::bigint from jsonb_array_elements(inbox)), '[]'
) as word from currant.resume(:'worker') where execution_id = :'id' \gset
select is(test.counters(:'id'), '1 tasks, 3 children', 'then it does');
select results_eq(
    format($$ select event, kind, number, payload, execution_id from currant.history(%L, 1) $$, :'id'),
    format($$ values (2, 'child_completed', 1, '[1]'::jsonb, %L::uuid) $$, :'one'), 'the history shows the result'
);

-- Every other way to end.
select test.worker('far') as far_worker \gset
select test.activate(
    :'far_worker', :'two',
    test.command(null, 'fail', null, '{"error": {"type": "ValueError", "message": "no", "traceback": "T"}}')
) as word \gset
select results_eq(
    format($$ select kind, number, payload from currant.inbox where workflow_id = %L $$, :'id'),
    $$ values ('child_failed', 2,
        '{"type": "ValueError", "message": "no", "traceback": "T", "status": "failed", "attempts": 1}'::jsonb) $$,
    'a child that fails is told with its error'
);
select is(currant.cancel(:'three', 'by hand'), 'cancelled', 'a child that has not begun can be cancelled by hand');
select results_eq(
    format($$ select kind, number, payload from currant.inbox where workflow_id = %L and number = 3 $$, :'id'),
    $$ values ('child_failed', 3, '{"type": "Cancelled", "message": "by hand", "retryable": false,
        "status": "cancelled", "attempts": 1}'::jsonb) $$,
    'its parent gets it as a failure whose status says cancelled'
);
select is((select count(*) from currant.delayed where execution_id = :'three'), 0::bigint, 'it does not begin later');

select test.activate(:'worker', :'id', test.child_command(7, '00000000-0000-7000-8000-00000000ca07', '{}', 3)) as word \gset
select is(test.counters(:'id'), '1 tasks, 2 children', 'ends and beginnings of one commit are counted together');
select test.activate(:'worker', '00000000-0000-7000-8000-00000000ca07', test.command(1, 'task', 'f', jsonb_build_object(
    'id', '00000000-0000-7000-8000-00000000ca71'::uuid, 'options', '{"queue": "children_unserved"}'::jsonb
))) as word \gset
select test.pass('78 seconds');
select test.keep_steady();
select currant.tick('due') as ticked \gset
select is(
    (currant.status('00000000-0000-7000-8000-00000000ca07')).error ->> 'type', 'Timeout', 'a child runs out of its own time'
);
select is(
    test.inbox(:'id'), '[["child_failed", 7, "00000000-0000-7000-8000-00000000ca07"]]', 'and its parent is told of it'
);
select is(
    (currant.status('00000000-0000-7000-8000-00000000ca71')).status, 'cancelled', 'what it had open is cancelled'
);
select ok((select active_since from currant.workflows where execution_id = :'id') is not null, 'a task makes time pass');
select currant.cancel(:'task') as word \gset
select test.activate(:'worker', :'id') as word \gset
select is(
    (select active_since from currant.workflows where execution_id = :'id'), null,
    'waiting for a child alone does not: the child has a time of its own'
);
select is((currant.status(:'id')).waits_for, '1 child workflow(s)', 'a child alone is named in the status');

-- The parent cancels one that has not begun.
select currant.signal(:'id', 's') as arrival \gset
select is(
    test.activate(:'worker', :'id', test.command(5, 'cancel', null, null, 7)), 'accepted', 'a parent cancels a child'
);
select results_eq(
    format($$ select status, error ->> 'message' from currant.status(%L) $$, :'five'),
    $$ values ('cancelled', 'cancelled by its workflow') $$, 'one that has not begun ends at once'
);
select is(test.inbox(:'id'), format('[["child_failed", 5, "%s"]]', :'five')::jsonb, 'its end is told all the same');
select test.activate(:'worker', :'id') as word \gset
select is(test.counters(:'id'), '0 tasks, 0 children', 'and counted');
select is((currant.status(:'id')).waits_for, 'a signal', 'nothing is open any more');

-- Late: the parent has ended.
select currant.signal(:'id', 's') as arrival \gset
select test.activate(:'worker', :'id', jsonb_build_array(
    test.child_command(9, '00000000-0000-7000-8000-00000000ca09', '{"on_parent_end": "abandon"}', 9),
    test.command(null, 'complete', null, '{"result": 0}', 9)
)) as word \gset
select test.activate(:'worker', '00000000-0000-7000-8000-00000000ca09', test.command(null, 'complete')) as word \gset
select is(
    format(
        '%s, %s, %s', (currant.status('00000000-0000-7000-8000-00000000ca09')).status, test.inbox(:'id'),
        (select count(*) from currant.ready where execution_id = :'id')
    ),
    'completed, [], 0', 'a child that ends after its parent keeps its outcome and tells nobody'
);

select * from finish();
rollback;

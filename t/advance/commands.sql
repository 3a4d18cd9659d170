-- advance: what each command does.

begin;

\ir ../lib/helpers.psql

select plan(26);

select test.stop_clock('2030-01-01 00:00:00+00');
select test.worker('commands') as worker \gset
select currant.register_functions('[{"name": "step", "queue": "step_queue", "retries": 2, "priority": 1}]') as n \gset
select currant.enqueue('w', '{}', '{"queue": "commands", "kind": "workflow", "headers": {"trace": "t"}}') as id \gset
select currant.enqueue('w', '{}', '{"queue": "commands_other", "kind": "workflow"}') as other \gset

select is(test.activate(:'worker', :'id', jsonb_build_array(
    test.command(1, 'task', 'step', '{"id": "00000000-0000-7000-8000-00000000c001", "args": {"x": 1}}'),
    test.command(2, 'task', 'step', '{"id": "00000000-0000-7000-8000-00000000c002", "args": [2],
        "options": {"queue": "mine", "priority": 7, "retries": 0, "timeout": 9, "delay": 30}}'),
    test.command(3, 'task', 'step', '{"id": "00000000-0000-7000-8000-00000000c003", "args": {}}'),
    test.command(3, 'cancel'),
    test.command(4, 'timer', null, '{"seconds": 2.5}'),
    test.command(5, 'timer', null, '{"seconds": 99}'),
    test.command(6, 'queue', 'step', '{"id": "00000000-0000-7000-8000-00000000c006", "args": {"y": 1},
        "options": {"key": "k"}}'),
    test.command(7, 'signal', 'hello', jsonb_build_object(
        'id', '00000000-0000-7000-8000-00000000c007'::uuid, 'execution', :'other'::uuid, 'payload', '"hi"'::jsonb
    )),
    test.command(
        8, 'signal', 'nobody',
        jsonb_build_object('id', '00000000-0000-7000-8000-00000000c008'::uuid, 'execution', gen_random_uuid())
    )
)), 'accepted', 'a workflow may do much at once');

select results_eq(
    $$ select kind, function, queue, priority, max_attempts, args
    from currant.status('00000000-0000-7000-8000-00000000c001') $$,
    $$ values ('task', 'step', 'step_queue', 1, 3, '{"x": 1}'::jsonb) $$,
    'a task is run as its declaration says'
);
select is((currant.status('00000000-0000-7000-8000-00000000c001')).parent_id, :'id', 'it belongs to the workflow');
select results_eq(
    $$ select queue, priority, max_attempts, args, due_at
    from currant.status('00000000-0000-7000-8000-00000000c002') $$,
    $$ values ('mine', 7, 1, '[2]'::jsonb, timestamptz '2030-01-01 00:00:30+00') $$,
    'or as the options of the call say'
);
select throws_ok(
    $$ select currant.status('00000000-0000-7000-8000-00000000c003') $$, 'KR004', null,
    'a task cancelled in the same commit is never made'
);
select is(
    (select array_agg(kind order by position) from currant.history(:'id') where number = 3), array['task', 'cancel'],
    'both commands are in the history'
);
select is(
    (select array_agg(due_at order by due_at) from currant.delayed where execution_id = :'id' and kind = 'timer'),
    array['2030-01-01 00:00:02.5+00', '2030-01-01 00:01:39+00']::timestamptz[],
    'timers count from the time of the event'
);
select is((currant.status('00000000-0000-7000-8000-00000000c006')).parent_id, null, 'what is queued is independent');
select is(
    (currant.status('00000000-0000-7000-8000-00000000c006')).root_id, '00000000-0000-7000-8000-00000000c006',
    'its own root'
);
select is((currant.status('00000000-0000-7000-8000-00000000c006')).args, '{"y": 1}', 'with its arguments');
select is(
    currant.enqueue('step', '{}', '{"key": "k"}'), '00000000-0000-7000-8000-00000000c006', 'and its key'
);
select results_eq(
    format($$ select name, payload from currant.workflow_signals where execution_id = %L $$, :'other'),
    $$ values ('hello', '"hi"'::jsonb) $$, 'a signal reaches the other workflow; one to nobody goes nowhere'
);

-- Later: the end of a task comes back, a timer fires, both by number.
select token from currant.claim(:'worker', '{step_queue}', 1) \gset
select is(
    currant.complete(:'worker', '00000000-0000-7000-8000-00000000c001', :token, '"one"'), 'accepted',
    'a task of it completes'
);
select test.pass('3 seconds');
select is((currant.tick('due')).done, 1, 'a timer is due');
select is(
    (
        select jsonb_agg(jsonb_build_array(i.value -> 'kind', i.value -> 'number', i.value -> 'payload') order by i.n)
        from currant.claim(:'worker', '{commands}', 0, 1) as c
        cross join jsonb_array_elements(c.inbox) with ordinality as i (value, n)
    ),
    '[["task_completed", 1, "one"], ["timer_fired", 4, null]]', 'the workflow gets both'
);
select is((select last_command from currant.resume(:'worker')), 8, 'and knows the number of its last command');
select is(
    (
        select currant.advance(
            :'worker', :'id', token, 1, array(select (value ->> 'arrival')::bigint from jsonb_array_elements(inbox)),
            jsonb_build_array(
                test.command(2, 'cancel', null, null, 2), test.command(5, 'cancel', null, null, 3),
                test.command(1, 'cancel', null, null, 3), test.command(77, 'cancel', null, null, 3)
            )
        ) from currant.resume(:'worker')
    ), 'accepted', 'it may cancel what it asked for, also what has ended'
);
select is(
    (currant.status('00000000-0000-7000-8000-00000000c002')).status, 'cancelled',
    'a task that had not begun ends'
);
select is(
    (select count(*) from currant.delayed where execution_id = :'id' and kind = 'timer'), 0::bigint, 'a timer goes'
);
select is(currant.result('00000000-0000-7000-8000-00000000c001'), '"one"', 'what has completed stays so');
select results_eq(
    format(
        $$ select inbox -> 0 ->> 'kind', inbox -> 0 -> 'payload' ->> 'status'
        from currant.claim(%L, '{commands}', 0, 1) $$, :'worker'
    ),
    $$ values ('task_failed', 'cancelled') $$, 'the end of the cancelled task is told, too'
);
select is((select last_command from currant.resume(:'worker')), 8, 'cancels have no numbers of their own');
select is(
    (select open_tasks from currant.workflows where execution_id = :'id'), 1, 'its end is not applied yet'
);
select currant.advance(
    :'worker', :'id', token, last_event, array[(inbox -> 0 ->> 'arrival')::bigint], '[]', '{"version": 4}'
) as word
from currant.resume(:'worker') \gset
select is((select open_tasks from currant.workflows where execution_id = :'id'), 0, 'then it is');
select is(
    (select version from currant.workflows where execution_id = :'id'), 4,
    'the version is that of the code that ran'
);
select currant.signal(:'id', 's') as arrival \gset
select test.activate(:'worker', :'id', '[]', '{"version": 3}') as word \gset
select currant.signal(:'id', 's') as arrival \gset
select is((select version from currant.claim(:'worker', '{commands}', 0, 1)), 4, 'it is never lowered');

select * from finish();
rollback;

-- retry: an ended execution is run again as a new one.

begin;

\ir lib/helpers.psql

select plan(26);

select test.stop_clock('2030-01-01 00:00:00+00');
select test.worker('retry') as worker \gset
select currant.enqueue(
    'f', '{"n": 1}',
    '{"queue": "retry", "retries": 0, "priority": 3, "key": "k", "timeout": 7, "headers": {"h": 1}}'
) as id \gset
select throws_ok(format($$ select currant.retry(%L) $$, :'id'), 'KR006', null, 'what has not ended is not retried');
select token from currant.claim(:'worker', '{retry}', 1) \gset
select throws_ok(format($$ select currant.retry(%L) $$, :'id'), 'KR006', null, 'nor what is running');
select currant.fail(:'worker', :'id', :token, '{"type": "E"}') as word \gset

select currant.retry(:'id', '{"id": "00000000-0000-7000-8000-0000000000f1"}') as again \gset
select is(:'again'::uuid, '00000000-0000-7000-8000-0000000000f1', 'the caller may give the id of the new execution');
select is((currant.status(:'again')).status, 'pending', 'it is pending');
select is((currant.status(:'again')).retry_of, :'id', 'and linked to the old one');
select is((currant.status(:'again')).created_at, '2030-01-01 00:00:00+00', 'with its own time');
select results_eq(
    format($$ select function, args, queue, priority, headers, max_attempts, key from currant.status(%L) $$, :'again'),
    format($$ select function, args, queue, priority, headers, max_attempts, key from currant.status(%L) $$, :'id'),
    'and otherwise the same'
);
select is((currant.status(:'id')).status, 'failed', 'the old one stays as it ended');
select is(
    currant.retry(:'id', '{"id": "00000000-0000-7000-8000-0000000000f1"}'), :'again', 'a repeated call gives the same'
);
select is(currant.retry(:'id'), :'again', 'there is one retry of each');
select is((select count(*) from currant.ready where execution_id = :'again'), 1::bigint, 'which is queued once');
select is(currant.enqueue('f', '{}', '{"queue": "retry", "key": "k"}'), :'again', 'the key has moved with it');

select attempt, timeout, token from currant.claim(:'worker', '{retry}', 1) \gset
select is(
    format('attempt %s in %s', :attempt, :'timeout'), 'attempt 1 in 00:00:07',
    'attempts are counted from the beginning'
);
select currant.complete(:'worker', :'again', :token, '"now"') as word \gset
select is(currant.result(:'again'), '"now"', 'it may complete');
select throws_ok(format($$ select currant.retry(%L) $$, :'again'), 'KR003', null, 'what has completed is not retried');
select throws_ok(
    format($$ select currant.result(%L) $$, :'id'), 'KR007', null, 'the old one has no result all the same'
);

select currant.enqueue('w', '{}', '{"queue": "retry", "kind": "workflow"}') as workflow \gset
select currant.cancel(:'workflow') as word \gset
select currant.retry(:'workflow') as next \gset
select is(test.activate(:'worker', :'next', test.command(1, 'task', 'f', jsonb_build_object(
    'id', '00000000-0000-7000-8000-0000000000f2', 'options', '{"queue": "retry"}'::jsonb
))), 'accepted', 'a cancelled workflow is retried from the beginning');
select currant.cancel('00000000-0000-7000-8000-0000000000f2') as word \gset
select throws_ok(
    $$ select currant.retry('00000000-0000-7000-8000-0000000000f2') $$, '22023', null,
    'a task of a workflow is not retried alone'
);

select currant.signal(:'next', 's') as arrival \gset
select test.activate(:'worker', :'next', test.child_command(
    2, '00000000-0000-7000-8000-0000000000f3', '{"on_parent_end": "abandon", "key": "child"}', 3
)) as word \gset
select currant.cancel('00000000-0000-7000-8000-0000000000f3') as word \gset
select is(
    test.error_of($$ select currant.retry('00000000-0000-7000-8000-0000000000f3') $$),
    format(
        '22023 | execution 00000000-0000-7000-8000-0000000000f3 belongs to workflow %s | its workflow has been told how it '
        'ended and may run another; once that has ended, either can be retried', :'next'
    ), 'nor is a child of an open workflow'
);
select test.activate(:'worker', :'next', test.command(null, 'complete', null, null, 4)) as word \gset
select currant.retry('00000000-0000-7000-8000-0000000000f3') as child \gset
select results_eq(
    format($$ select kind, function, parent_id, root_id, retry_of, key from currant.status(%L) $$, :'child'),
    format(
        $$ values ('workflow', 'child', null::uuid, %L::uuid, '00000000-0000-7000-8000-0000000000f3'::uuid, 'child') $$,
        :'child'
    ), 'once its parent has ended, a child is retried on its own'
);
select is(
    test.activate(:'worker', :'child', test.command(null, 'complete')), 'accepted', 'it runs, and has nobody to tell'
);
select throws_ok(
    $$ select currant.retry('00000000-0000-7000-8000-0000000000f2') $$, '22023', null,
    'a task of an ended workflow is still not'
);

select currant.enqueue('f', '{}', '{"queue": "retry"}') as other \gset
select currant.cancel(:'other') as word \gset
select throws_ok(
    format($$ select currant.retry(%L, jsonb_build_object('id', %L)) $$, :'other', :'again'), '22023', null,
    'the id of another execution is refused'
);
select isnt(currant.retry(:'other'), :'again', 'and then it can be retried under its own');
select throws_ok($$ select currant.retry(gen_random_uuid()) $$, 'KR004', null, 'an unknown execution is not retried');
select throws_ok(
    format($$ select currant.retry(%L, '{"queue": "x"}') $$, :'other'), '22023', null, 'other options are refused'
);

select * from finish();
rollback;

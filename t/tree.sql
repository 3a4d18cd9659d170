-- tree: what is under an execution, in the order of commands.

begin;

\ir lib/helpers.psql

select plan(16);

select test.stop_clock('2030-01-01 00:00:00+00');
select test.worker('tree') as worker \gset
create function test.start(n integer, kind text, id text, options jsonb default '{}') returns jsonb language sql as $$
    select test.command(
        n, kind, kind || ' ' || id, jsonb_build_object(
            'id', '00000000-0000-7000-8000-0000000e' || id, 'args', '{}'::jsonb,
            'options', jsonb_build_object('queue', 'tree ' || id) || options
        )
    )
$$;
create function test.lines(id uuid, at_most integer default 1000) returns setof text language sql as $$
    select repeat('. ', t.depth) || right(t.id::text, 4) || ' ' || t.kind || ' ' || t.status
    from currant.tree(id, at_most) as t
$$;

select currant.enqueue('w', '{}', '{"queue": "tree", "kind": "workflow", "id": "00000000-0000-7000-8000-0000000e0000"}') as top \gset
select test.activate(:'worker', :'top', jsonb_build_array(
    test.start(1, 'task', '0001'),
    test.command(2, 'timer', null, '{"seconds": 60}'),
    test.start(3, 'child', '0003'),
    test.start(4, 'task', '0004'),
    test.start(5, 'queue', '0005'),
    test.start(6, 'child', '0006', '{"on_parent_end": "abandon"}')
)) as word \gset
select test.activate(:'worker', '00000000-0000-7000-8000-0000000e0003', jsonb_build_array(
    test.start(1, 'task', '0031'), test.start(2, 'child', '0032')
)) as word \gset
select test.activate(:'worker', '00000000-0000-7000-8000-0000000e0032', jsonb_build_array(
    test.start(1, 'task', '0321'), test.start(12, 'task', '0332'), test.start(2, 'task', '0322')
)) as word \gset
select token from currant.claim(:'worker', '{tree 0001}', 1) \gset
select currant.complete(:'worker', '00000000-0000-7000-8000-0000000e0001', :token, '1') as word \gset
select count(*) from currant.claim(:'worker', '{tree 0321}', 1) \gset

select results_eq(
    format($$ select test.lines(%L) $$, :'top'),
    array[
        '0000 workflow suspended',
        '. 0001 task completed',
        '. 0003 workflow suspended',
        '. . 0031 task pending',
        '. . 0032 workflow suspended',
        '. . . 0321 task running',
        '. . . 0322 task pending',
        '. . . 0332 task pending',
        '. 0004 task pending',
        '. 0006 workflow pending'
    ],
    'each is followed by what is under it; what was queued to run on its own is not there'
);
select results_eq(
    format($$ select command_number from currant.tree(%L) where depth = 1 $$, :'top'), array[1, 3, 4, 6],
    'with the numbers of their commands'
);
select results_eq(
    format($$ select parent_id from currant.tree(%L) where depth = 2 group by 1 $$, :'top'),
    array['00000000-0000-7000-8000-0000000e0003'::uuid], 'and their parents'
);
select set_eq(
    format($$
        select id, kind, function, version, queue, priority, status, attempt, max_attempts, key, parent_id, root_id,
            retry_of, created_at, started_at, finished_at, outcome, due_at, worker_id, waits_for, is_cancel_requested,
            error_message
        from currant.tree(%L)
    $$, :'top'),
    format($$ select * from currant.execution_status where root_id = %L $$, :'top'),
    'what is said of each is what execution_status says'
);
select results_eq(
    $$ select test.lines('00000000-0000-7000-8000-0000000e0032') $$,
    array[
        '0032 workflow suspended', '. 0321 task running', '. 0322 task pending', '. 0332 task pending'
    ],
    'it may begin anywhere'
);
select is(
    (select command_number from currant.tree('00000000-0000-7000-8000-0000000e0032') limit 1), 2,
    'what it begins with has its number, too'
);
select results_eq(
    $$ select test.lines('00000000-0000-7000-8000-0000000e0001') $$, array['0001 task completed'],
    'a task is alone'
);
select results_eq(
    format($$ select test.lines(%L, 6) $$, :'top'),
    array[
        '0000 workflow suspended', '. 0001 task completed', '. 0003 workflow suspended', '. . 0032 workflow suspended',
        '. 0004 task pending', '. 0006 workflow pending'
    ],
    'of too many those nearest to the top are listed'
);
select results_eq(
    format($$ select test.lines(%L, 4) $$, :'top'),
    array['0000 workflow suspended', '. 0003 workflow suspended', '. 0004 task pending', '. 0006 workflow pending'],
    'of these what is open'
);
select results_eq(
    format($$ select test.lines(%L, 3) $$, :'top'),
    array['0000 workflow suspended', '. 0004 task pending', '. 0006 workflow pending'], 'and the newest'
);
select results_eq(format($$ select test.lines(%L, 1) $$, :'top'), array['0000 workflow suspended'], 'at least itself');
select is(
    (select count(*) from currant.tree('00000000-0000-7000-8000-0000000e0032', 3)), 3::bigint, 'never more than asked'
);
select throws_ok($$ select currant.tree(gen_random_uuid()) $$, 'KR004', null, 'an unknown execution has no tree');
select throws_ok(format($$ select currant.tree(%L, 0) $$, :'top'), '22023', null, 'no rows are too few');
select throws_ok(format($$ select currant.tree(%L, 1000001) $$, :'top'), '22023', null, 'a million the most');
select throws_ok(format($$ select currant.tree(%L, null) $$, :'top'), '22023', null, 'null is no number');

select * from finish();
rollback;

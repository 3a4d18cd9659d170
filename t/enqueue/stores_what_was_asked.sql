-- enqueue: what is stored, ids, and that it lives and dies with the caller's transaction.

begin;

\ir ../lib/helpers.psql

select plan(17);

select test.stop_clock('2030-01-01 00:00:00+00');
select currant.enqueue('f', '{"a": 1}', '{"queue": "stores", "headers": {"trace": "x"}}') as id \gset

select is((currant.status(:'id')).status, 'pending', 'an execution that was asked for is pending');
select is((currant.status(:'id')).kind, 'task', 'it is a task if nobody says otherwise');
select is((currant.status(:'id')).args, '{"a": 1}', 'its arguments are stored');
select is((currant.status(:'id')).headers, '{"trace": "x"}', 'its headers are stored');
select is((currant.status(:'id')).created_at, '2030-01-01 00:00:00+00', 'the database''s clock says when it was made');
select is((currant.status(:'id')).root_id, :'id', 'it is its own root');
select is((currant.status(:'id')).attempt, 1, 'its first attempt is to come');
select is(
    left(:'id', 8) || substr(:'id', 10, 4), lpad(to_hex(1893456000000), 12, '0')::text,
    'its id begins with the milliseconds of its making'
);
select matches(:'id'::text, '^.{14}7.{4}[89ab]', 'its id is a UUID of version 7');

select is(
    currant.enqueue('f', '[1, 2]', '{"queue": "stores", "id": "00000000-0000-7000-8000-0000000000e1"}'),
    '00000000-0000-7000-8000-0000000000e1', 'the caller may give the id'
);
select is(
    currant.enqueue('f', '[3]', '{"queue": "stores", "id": "00000000-0000-7000-8000-0000000000e1"}'),
    '00000000-0000-7000-8000-0000000000e1', 'a repeated call with the id returns it again'
);
select is(
    (currant.status('00000000-0000-7000-8000-0000000000e1')).args, '[1, 2]', 'a repeated call changes nothing'
);
select is(
    (select ready from currant.queue_stats where queue = 'stores'), 2::bigint, 'a repeated call queues nothing twice'
);

savepoint before;
select currant.enqueue('f', '{}', '{"queue": "stores", "id": "00000000-0000-7000-8000-0000000000e2"}') as gone \gset
rollback to savepoint before;
select throws_ok(
    $$ select currant.status('00000000-0000-7000-8000-0000000000e2') $$, 'KR004', null,
    'what was rolled back was never asked for'
);

select currant.enqueue('w', '{}', '{"queue": "stores", "kind": "workflow", "retries": 5}') as workflow \gset
select is((currant.status(:'workflow')).kind, 'workflow', 'a workflow is asked for in the same way');
select is((currant.status(:'workflow')).max_attempts, 1, 'retries do not apply to workflows');
select is((currant.status(:'workflow')).version, 1, 'the version is 1 if nobody says otherwise');

select * from finish();
rollback;

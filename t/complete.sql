-- complete and complete_many: words, fences, and the parent.

begin;

\ir lib/helpers.psql

select plan(27);

select test.stop_clock('2030-01-01 00:00:00+00');
select test.worker('complete') as worker \gset
select test.worker('complete') as other \gset
select currant.enqueue('f', '{}', '{"queue": "complete"}') as id \gset
select token from currant.claim(:'worker', '{complete}', 1) \gset
select test.pass('3 seconds');

select is(currant.complete(:'other', :'id', :token, '1'), 'lost', 'the lease of another cannot be completed');
select is(currant.complete(:'worker', :'id', :token + 1000, '1'), 'lost', 'nor can one with another token');
select is((currant.status(:'id')).status, 'running', 'neither changes anything');
select is(currant.complete(:'worker', :'id', :token, '{"x": 1}'), 'accepted', 'the holder can');
select is(currant.result(:'id'), '{"x": 1}', 'the result is stored');
select is((currant.status(:'id')).finished_at, '2030-01-01 00:00:03+00', 'with the time of its end');
select is((currant.status(:'id')).started_at, '2030-01-01 00:00:00+00', 'and that of its start');
select is((currant.status(:'id')).worker_id, :'worker', 'and who ran it');
select is(currant.complete(:'worker', :'id', :token, '{"x": 2}'), 'already', 'a repeated call is told so');
select is(currant.result(:'id'), '{"x": 1}', 'and changes nothing');
select is(currant.complete(:'worker', gen_random_uuid(), 1, '1'), 'lost', 'what does not exist is lost');

-- Claimed, given back and claimed again by the same worker: only the last token counts.
select currant.enqueue('f', '{}', '{"queue": "complete"}') as id \gset
select token as old from currant.claim(:'worker', '{complete}', 1) \gset
select is(currant.release(:'worker', :'id', :old), 'accepted', 'a lease is given back');
select token as new from currant.claim(:'worker', '{complete}', 1) \gset
select is(currant.complete(:'worker', :'id', :old, '"old"'), 'lost', 'its token is worth nothing any more');
select is(currant.complete(:'worker', :'id', :new, null), 'accepted', 'the new one is');
select is(currant.result(:'id'), 'null', 'no result is null');

-- Many at once.
create temporary table many (id uuid, token bigint, n bigint);
select currant.enqueue_many('f', array['{}', '{}', '{}']::jsonb[], '{"queue": "complete"}');
insert into many select execution_id, token, row_number() over () from currant.claim(:'worker', '{complete}', 3);
select is(currant.complete(:'worker', id, token, '0'), 'accepted', 'one of three is completed') from many where n = 2;
select is(
    (
        select currant.complete_many(
            :'worker', array_agg(id order by n) || gen_random_uuid(), array_agg(token order by n) || 1::bigint,
            array['1', '2', '3', '4']::jsonb[]
        ) from many
    ),
    array['accepted', 'already', 'accepted', 'lost'], 'there is one word for each, in order'
);
select results_eq(
    'select currant.result(id) from many order by n', array['1', '0', '3']::jsonb[], 'each has its own result'
);
select is(currant.complete_many(:'worker', '{}', '{}', '{}'), '{}', 'nothing to complete is no error');
select throws_ok(
    format($$ select currant.complete_many(%L, array[gen_random_uuid()], '{}', '{}') $$, :'worker'), '22023', null,
    'there are as many tokens and results as executions'
);
select currant.enqueue('f', '{}', '{"queue": "complete"}') as twice \gset
select token from currant.claim(:'worker', '{complete}', 1) \gset
select is(
    (currant.complete_many(
        :'worker', array[:'twice', :'twice']::uuid[], array[:token, :token], array['1', '1']::jsonb[]
    ))[1],
    'accepted', 'the same completion twice in one call ends it once'
);

-- A workflow's lease is not a task's.
select currant.enqueue('w', '{}', '{"queue": "complete", "kind": "workflow"}') as workflow \gset
select token from currant.claim(:'worker', '{complete}', 0, 1) \gset
select is(
    currant.complete(:'worker', :'workflow', :token, '1') = 'accepted', false,
    'a workflow is not completed in this way'
);
select is(currant.fail(:'worker', :'workflow', :token, '{}') = 'accepted', false, 'nor failed');
select is((currant.status(:'workflow')).status, 'running', 'its lease stays');
select is(currant.advance(:'worker', :'workflow', :token, 0, '{}', '[]'), 'accepted', 'and can be advanced');

-- Of a workflow's task, whatever the statistics say: as when there were few workflows, and then many.
create function test.read_of_workflows() returns bigint language sql volatile as $$
    select sum(pg_stat_get_xact_tuples_returned(i.id))::bigint
    from unnest('{currant.workflows,currant.workflows_pkey}'::regclass[]) as i (id)
$$;
analyze currant.workflows;
insert into currant.workflows (execution_id, queue, rank, timeout, version, last_at)
select gen_random_uuid(), 'complete', 0, '1 hour', 1, currant._now() from generate_series(1, 3000);
select currant.enqueue('w', '{}', '{"queue": "complete", "kind": "workflow"}') as parent \gset
select test.activate(
    :'worker', :'parent',
    test.command(1, 'task', 'f', '{"id": "00000000-0000-7000-8000-0000000c0001", "options": {"queue": "complete"}}')
) as word \gset
select token from currant.claim(:'worker', '{complete}', 1) \gset
select test.read_of_workflows() as before \gset
select is(
    currant.complete(:'worker', '00000000-0000-7000-8000-0000000c0001', :token, '1'), 'accepted',
    'a task of a workflow completes'
);
select cmp_ok(test.read_of_workflows() - :before, '<=', 10::bigint, 'which looks at that workflow and at no other');

select * from finish();
rollback;

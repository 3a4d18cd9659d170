-- advance: how a workflow ends, and whom it tells.

begin;

\ir ../lib/helpers.psql

select plan(19);

select test.stop_clock('2030-01-01 00:00:00+00');
select test.worker('ends') as worker \gset
create function test.flow() returns uuid language sql as $$
    select currant.enqueue('w', '{}', '{"queue": "ends_flows", "kind": "workflow"}')
$$;

select test.flow() as completed \gset
select is(
    test.activate(:'worker', :'completed', test.command(null, 'complete', null, '{"result": [1, 2]}')), 'accepted',
    'a workflow completes in its first activation'
);
select is(currant.result(:'completed'), '[1, 2]', 'with its result');
select is((currant.status(:'completed')).worker_id, :'worker', 'its status says who ran it last');
select results_eq(
    format($$ select event, position, kind, payload from currant.history(%L) $$, :'completed'),
    $$ values (1, 0, 'started', null::jsonb), (1, 1, 'complete', null) $$,
    'its end is in the history, its result only in the outcome'
);
select test.flow() as nothing \gset
select test.activate(:'worker', :'nothing', test.command(null, 'complete')) as word \gset
select is(currant.result(:'nothing'), 'null', 'no result is null');

select test.flow() as failed \gset
select is(
    test.activate(
        :'worker', :'failed',
        test.command(null, 'fail', null, '{"error": {"type": "ValueError", "message": "no"}}')
    ),
    'accepted', 'a workflow fails'
);
select is((currant.status(:'failed')).status, 'failed', 'its status says so');
select is((currant.status(:'failed')).error, '{"type": "ValueError", "message": "no"}', 'with its error');
select test.flow() as cancelled \gset
select test.activate(
    :'worker', :'cancelled',
    test.command(null, 'cancelled', null, '{"error": {"type": "Cancelled", "message": "asked"}}')
) as word \gset
select is((currant.status(:'cancelled')).status, 'cancelled', 'or ends as cancelled');

-- Its last words: what it queues and signals with its end is done; a task it asks for is not.
select test.flow() as other \gset
select test.flow() as last \gset
select currant.cancel(:'other') as word \gset
select test.flow() as open \gset
select test.activate(:'worker', :'last', jsonb_build_array(
    test.command(1, 'queue', 'f', '{"id": "00000000-0000-7000-8000-0000000000e1", "options": {"queue": "ends"}}'),
    test.command(2, 'signal', 'bye', jsonb_build_object(
        'id', '00000000-0000-7000-8000-0000000000e2'::uuid, 'execution', :'open'::uuid
    )),
    test.command(3, 'signal', 'bye', jsonb_build_object(
        'id', '00000000-0000-7000-8000-0000000000e3'::uuid, 'execution', :'other'::uuid
    )),
    test.command(4, 'task', 'f', '{"id": "00000000-0000-7000-8000-0000000000e4", "options": {"queue": "ends"}}'),
    test.command(5, 'timer', null, '{"seconds": 1}'),
    test.command(null, 'complete', null, '{"result": 0}')
)) as word \gset
select is(:'word'::text, 'accepted', 'a workflow may do things with its end');
select is((currant.status('00000000-0000-7000-8000-0000000000e1')).status, 'pending', 'what it queues is queued');
select is(
    (select count(*) from currant.workflow_signals where execution_id = :'open'), 1::bigint,
    'what it signals is signalled'
);
select is(
    (select count(*) from currant.workflow_signals where execution_id = :'other'), 0::bigint,
    'unless that has ended'
);
select throws_ok(
    $$ select currant.status('00000000-0000-7000-8000-0000000000e4') $$, 'KR004', null,
    'a task nobody would wait for is not made'
);
select is((select count(*) from currant.delayed where execution_id = :'last'), 0::bigint, 'nor a timer');

-- Refused ends run out: in the end what is unread stays unread.
select test.flow() as busy \gset
create function test.try_to_end(worker uuid, workflow uuid) returns text language plpgsql as $$
declare
    _claimed currant.claimed;
begin
    select * into strict _claimed
    from currant.claim(worker, '{ends_flows}', 0, 10) as c where c.execution_id = workflow;
    perform currant.signal(workflow, 'again');
    return currant.advance(
        worker, workflow, _claimed.token, _claimed.last_event,
        array(select (i.value ->> 'arrival')::bigint from jsonb_array_elements(_claimed.inbox) as i),
        jsonb_build_array(test.command(null, 'complete', null, '{"result": 1}'))
    );
end
$$;
select is(
    array[
        test.try_to_end(:'worker', :'busy'), test.try_to_end(:'worker', :'busy'), test.try_to_end(:'worker', :'busy'),
        test.try_to_end(:'worker', :'busy')
    ],
    array['refused', 'refused', 'refused', 'accepted'],
    'a workflow that is signalled all the time is kept from ending three times, and no more'
);
select is((currant.status(:'busy')).status, 'completed', 'then it has ended');
select results_eq(
    format(
        $$ select is_applied, count(*) from currant.workflow_signals where execution_id = %L group by 1 order by 1 $$,
        :'busy'
    ),
    $$ values (false, 1::bigint), (true, 3) $$, 'what it did not read can be seen'
);
select throws_ok(
    format(
        $$ select currant.advance(
            %L, %L, 1, 0, '{}', '[{"kind": "complete", "event": 1}, {"kind": "fail", "event": 1}]'
        ) $$, :'worker', :'open'
    ),
    '22023', null, 'nothing ends twice'
);

select * from finish();
rollback;

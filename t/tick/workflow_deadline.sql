-- tick: a workflow's timeout counts the time in which it has something to run.

begin;

\ir ../lib/helpers.psql

select plan(21);

select test.stop_clock('2030-01-01 00:00:00+00');
select test.worker('deadline') as worker \gset
create function test.flow(timeout integer) returns uuid language sql as $$
    select currant.enqueue('w', '{}', jsonb_build_object('queue', 'deadline', 'kind', 'workflow', 'timeout', timeout))
$$;
create function test.step(n integer, id uuid, event integer default 1) returns jsonb language sql as $$
    select test.command(
        n, 'task', 'f', jsonb_build_object('id', id, 'options', '{"queue": "deadline_steps"}'::jsonb), event
    )
$$;
create function test.later(by interval) returns void language plpgsql as $$
begin
    perform test.pass(later.by);
    perform currant.heartbeat(w.id, '{}', '{}') from currant.workers as w where w.queues @> '{deadline}';
    perform test.keep_steady();
    perform currant.tick('due');
    perform currant.tick('recover');
end
$$;

-- A task is open for all of it.
select test.flow(60) as id \gset
select test.activate(:'worker', :'id', test.step(1, '00000000-0000-7000-8000-0000000000d1')) as word \gset
select token from currant.claim(:'worker', '{deadline_steps}', 1) \gset
select test.later('59 seconds');
select is((currant.status(:'id')).status, 'suspended', 'within its timeout a workflow waits for its task');
select test.later('2 seconds');
select is((currant.status(:'id')).status, 'failed', 'over it, it fails');
select is((currant.status(:'id')).error ->> 'type', 'Timeout', 'as a timeout');
select ok((currant.status('00000000-0000-7000-8000-0000000000d1')).is_cancel_requested, 'its running task is cancelled');
select is(
    currant.complete(:'worker', '00000000-0000-7000-8000-0000000000d1', :token, '1'), 'accepted',
    'but may complete all the same'
);
select is((select count(*) from currant.inbox where workflow_id = :'id'), 0::bigint, 'which nobody is told');

-- Only signals and timers: its time stands still.
select test.flow(60) as waiting \gset
select test.activate(:'worker', :'waiting', test.command(1, 'timer', null, '{"seconds": 90000}')) as word \gset
select test.later('1 day');
select is(
    (currant.status(:'waiting')).status, 'suspended',
    'a workflow may wait for a day under a timeout of a minute'
);
select currant.signal(:'waiting', 'go') as arrival \gset
select is(
    test.activate(:'worker', :'waiting', test.step(2, '00000000-0000-7000-8000-0000000000d2', 2)), 'accepted',
    'then it asks for a task'
);
select test.later('50 seconds');
select is((currant.status(:'waiting')).status, 'suspended', 'for which it has the whole minute');
select token from currant.claim(:'worker', '{deadline_steps}', 1) \gset
select currant.complete(:'worker', '00000000-0000-7000-8000-0000000000d2', :token, '1') as word \gset
select test.activate(:'worker', :'waiting') as word \gset
select test.later('1 hour');
select is((currant.status(:'waiting')).status, 'suspended', 'when that has ended its time stands still again');
select is(
    (select used from currant.workflows where execution_id = :'waiting'), '50 seconds', 'what it has used is remembered'
);
select currant.signal(:'waiting', 'go') as arrival \gset
select test.activate(:'worker', :'waiting', test.step(3, '00000000-0000-7000-8000-0000000000d3', 4)) as word \gset
select test.later('9 seconds');
select is((currant.status(:'waiting')).status, 'suspended', 'it has the rest of it for another task');
select test.later('2 seconds');
select is((currant.status(:'waiting')).status, 'failed', 'and no more');
select is(
    (currant.status('00000000-0000-7000-8000-0000000000d3')).status, 'cancelled',
    'a task that had not begun ends with it'
);

-- In an activation.
select test.flow(10) as active \gset
select test.activate(:'worker', :'active', test.step(1, '00000000-0000-7000-8000-0000000000d4')) as word \gset
select currant.signal(:'active', 's') as arrival \gset
select token from currant.claim(:'worker', '{deadline}', 0, 1) \gset
select test.later('11 seconds');
select is((currant.status(:'active')).status, 'running', 'a workflow is not ended in the middle of an activation');
select is(
    currant.advance(
        :'worker', :'active', :token, 1, array[:arrival],
        jsonb_build_array(test.command(null, 'complete', null, '{"result": 1}', 2))
    ),
    'accepted', 'which may be its last'
);
select is((currant.status(:'active')).status, 'completed', 'then it has completed in time');

select test.flow(10) as over \gset
select test.activate(:'worker', :'over', test.step(1, '00000000-0000-7000-8000-0000000000d5')) as word \gset
select currant.signal(:'over', 's') as arrival \gset
select token from currant.claim(:'worker', '{deadline}', 0, 1) \gset
select test.later('11 seconds');
select is(
    currant.advance(:'worker', :'over', :token, 1, array[:arrival], '[]'), 'accepted',
    'one that goes on after its time'
);
select test.later('1 second');
select is((currant.status(:'over')).status, 'failed', 'is ended after its activation');

-- Not begun.
select test.flow(10) as fresh \gset
select test.later('1 day');
select is((currant.status(:'fresh')).status, 'pending', 'waiting for a first worker does not count');
select is(test.activate(:'worker', :'fresh'), 'accepted', 'it may begin at any time');

select * from finish();
rollback;

-- cancel by force: whatever is running, and what is under it.

begin;

\ir ../lib/helpers.psql

select plan(47);

select test.stop_clock('2030-01-01 00:00:00+00');
select test.worker('force') as worker \gset
create function test.force(id uuid, reason text default 'stop it') returns text language sql as $$
    select currant.cancel(id, reason, '{"force": true}')
$$;
create function test.start(n integer, kind text, id uuid, options jsonb default '{}') returns jsonb language sql as $$
    select test.command(
        n, kind, 'f', jsonb_build_object(
            'id', id, 'args', '{}'::jsonb, 'options',
            -- A queue for each workflow: what a claim gets of others stays leased.
            jsonb_build_object('queue', case kind when 'task' then 'force' else 'force ' || id end) || options
        )
    )
$$;
create function test.left_of(id uuid) returns bigint language sql as $$
    select
        (select count(*) from currant.inbox where workflow_id = id and kind <> 'signal_received')
        + (select count(*) from currant.delayed where execution_id = id)
        + (select count(*) from currant.ready where execution_id = id)
        + (select count(*) from currant.leases where execution_id = id)
        + (select count(*) from currant.workflows where execution_id = id)
$$;

-- A task.
select currant.enqueue('f', '{}', '{"queue": "force"}') as pending \gset
select is(test.force(:'pending'), 'cancelled', 'a task that is not running ends at once');
select is((currant.status(:'pending')).error ->> 'message', 'stop it', 'with the reason');
select is((currant.status(:'pending')).attempts, '[]', 'it was never tried');

select currant.enqueue('f', '{}', '{"queue": "force"}') as running \gset
select token from currant.claim(:'worker', '{force}', 1) \gset
select is(test.force(:'running'), 'cancelled', 'so does one that is running');
select is((currant.status(:'running')).error ->> 'message', 'stop it', 'with the reason');
select is(
    (currant.status(:'running')).attempts -> 0 -> 'error' ->> 'message', 'ended by force while it was running',
    'its attempt is listed'
);
select is((currant.status(:'running')).worker_id, :'worker', 'and who had it');
select is(
    currant.complete(:'worker', :'running', :token, '1'), 'lost', 'what its worker completes later is not accepted'
);
select is(
    currant.fail(:'worker', :'running', :token, '{"type": "E"}'), 'lost', 'nor that it failed'
);
select results_eq(
    format($$ select answer from currant.heartbeat(%L, array[%L]::uuid[], array[%s]) $$, :'worker', :'running', :token),
    $$ values ('lost') $$, 'the worker''s heartbeat says that the lease is gone'
);
select is(test.force(:'running', 'again'), 'cancelled', 'to repeat it is no error');
select is((currant.status(:'running')).error ->> 'message', 'stop it', 'and changes nothing');

select currant.enqueue('f', '{}', '{"queue": "force"}') as asked \gset
select token from currant.claim(:'worker', '{force}', 1) \gset
select is(currant.cancel(:'asked', 'please'), 'running', 'one that was asked to stop');
select is(test.force(:'asked'), 'cancelled', 'and did not, can be ended by force');

select currant.enqueue('f', '{}', '{"queue": "force"}') as done \gset
select token from currant.claim(:'worker', '{force}', 1) \gset
select currant.complete(:'worker', :'done', :token, '5') as word \gset
select is(test.force(:'done'), 'completed', 'what has ended does not change');
select is(currant.result(:'done'), '5', 'and keeps its result');

-- A workflow by itself.
select currant.enqueue('w', '{}', '{"queue": "force", "kind": "workflow"}') as fresh \gset
select is(test.force(:'fresh'), 'cancelled', 'a workflow that has not begun ends');
select currant.enqueue('w', '{}', '{"queue": "force", "kind": "workflow"}') as parked \gset
select test.activate(:'worker', :'parked', test.command(1, 'timer', null, '{"seconds": 60}')) as word \gset
select currant.cancel(:'parked', 'please') as word \gset
select is(test.force(:'parked'), 'cancelled', 'one that waits ends, whether or not it was asked before');
select is(test.left_of(:'parked'), 0::bigint, 'nothing of it is left');
select currant.enqueue('w', '{}', '{"queue": "force", "kind": "workflow"}') as first \gset
select token from currant.claim(:'worker', '{force}', 0, 1) \gset
select is(test.force(:'first'), 'cancelled', 'one that is being run ends');
select is(
    currant.advance(:'worker', :'first', :token, 0, '{}', jsonb_build_array(test.command(null, 'complete'))),
    'lost', 'what its activation says later is not accepted'
);
select results_eq(
    format($$ select answer from currant.heartbeat(%L, array[%L]::uuid[], array[%s]) $$, :'worker', :'first', :token),
    $$ values ('lost') $$, 'its worker hears of it, too'
);
select currant.enqueue('w', '{}', '{"queue": "force", "kind": "workflow"}') as blocked \gset
select test.activate(:'worker', :'blocked', '[]', '{"blocked": "non-determinism"}') as word \gset
select is(test.force(:'blocked'), 'cancelled', 'one that is blocked ends');

-- Three levels: a workflow over a task and two workflows, one of them to be abandoned, each over tasks of their own.
select currant.enqueue('w', '{}', '{"queue": "force", "kind": "workflow"}') as top \gset
select test.activate(:'worker', :'top', jsonb_build_array(
    test.start(1, 'task', '00000000-0000-7000-8000-0000000f0001'),
    test.start(2, 'child', '00000000-0000-7000-8000-0000000f0002'),
    test.start(3, 'child', '00000000-0000-7000-8000-0000000f0003', '{"on_parent_end": "abandon"}')
)) as word \gset
select test.activate(:'worker', '00000000-0000-7000-8000-0000000f0002', jsonb_build_array(
    test.start(1, 'task', '00000000-0000-7000-8000-0000000f0021'),
    test.start(2, 'task', '00000000-0000-7000-8000-0000000f0022', '{"delay": 60}'),
    test.start(3, 'child', '00000000-0000-7000-8000-0000000f0023')
)) as word \gset
select test.activate(:'worker', '00000000-0000-7000-8000-0000000f0003', jsonb_build_array(
    test.start(1, 'task', '00000000-0000-7000-8000-0000000f0031')
)) as word \gset
select test.activate(:'worker', '00000000-0000-7000-8000-0000000f0023', jsonb_build_array(
    test.start(1, 'task', '00000000-0000-7000-8000-0000000f0231'),
    test.start(2, 'task', '00000000-0000-7000-8000-0000000f0232')
)) as word \gset
create temporary table leased as
select execution_id as id, token from currant.claim(:'worker', '{force}', 10, 10);
select is((select count(*) from leased), 5::bigint, 'five tasks are running');
select currant.complete(:'worker', id, token, '1') as word from leased where id::text like '00000000-%f0232' \gset
select currant.signal('00000000-0000-7000-8000-0000000f0023', 's') as arrival \gset
insert into leased select execution_id, token
from currant.claim(:'worker', '{force 00000000-0000-7000-8000-0000000f0023}', 0, 10);
select is(
    (select count(*) from leased where id::text like '00000000-%f0023'), 1::bigint, 'the workflow at the bottom is being run'
);

select is(test.force(:'top', 'all of it'), 'cancelled', 'the workflow at the top is ended by force');
select results_eq(
    format($$
        select right(s.id::text, 4), s.status from currant.execution_status as s
        where s.root_id = %L and s.id <> s.root_id order by s.id
    $$, :'top'),
    $$ values
        ('0001', 'cancelled'), ('0002', 'cancelled'), ('0003', 'suspended'), ('0021', 'cancelled'),
        ('0022', 'cancelled'), ('0023', 'cancelled'), ('0031', 'running'), ('0231', 'cancelled'),
        ('0232', 'completed') $$,
    'and with it everything under it, running or not, except what was to be abandoned and what had ended'
);
select is((currant.status(:'top')).error ->> 'message', 'all of it', 'it has the reason');
select results_eq(
    $$ select distinct error ->> 'message' from currant.outcomes
        where execution_id::text like '00000000-%f00__' and execution_id::text not like '00000000-%f0002_' and status = 'cancelled' $$,
    $$ values ('the workflow has ended') $$, 'the others have another'
);
select is(
    (select sum(test.left_of(e.id)) from currant.executions as e
    where e.root_id = :'top' and e.id::text !~ '^00000000-.*f00(03|31)$'), 0::numeric, 'nothing of them is left to be run or heard'
);
select is(
    (select currant.complete(:'worker', id, token, '1') from leased where id::text like '00000000-%f0231'), 'lost',
    'a task at the bottom can no longer complete'
);
select is(
    (
        select currant.advance(
            :'worker', l.id, l.token, 1, '{}', jsonb_build_array(test.command(null, 'complete', null, '{}', 2))
        )
        from leased as l where l.id::text like '00000000-%f0023'
    ), 'lost', 'nor can the activation there commit'
);
select is(
    (select currant.complete(:'worker', id, token, '1') from leased where id::text like '00000000-%f0031'), 'accepted',
    'what was abandoned goes on'
);
select is(
    test.activate(
        :'worker', '00000000-0000-7000-8000-0000000f0003', test.command(null, 'complete', null, '{"result": 1}', 2)
    ), 'accepted', 'and completes'
);

-- A workflow that has ended while a task of it is still being stopped is gone through.
select currant.enqueue('w', '{}', '{"queue": "force", "kind": "workflow"}') as above \gset
select test.activate(
    :'worker', :'above', test.start(1, 'child', '00000000-0000-7000-8000-0000000f0004')
) as word \gset
select test.activate(
    :'worker', '00000000-0000-7000-8000-0000000f0004', test.start(1, 'task', '00000000-0000-7000-8000-0000000f0041')
) as word \gset
select token from currant.claim(:'worker', '{force}', 1) \gset
select currant.signal('00000000-0000-7000-8000-0000000f0004', 's') as arrival \gset
select test.activate(
    :'worker', '00000000-0000-7000-8000-0000000f0004', test.command(null, 'complete', null, '{"result": 1}', 2)
) as word \gset
select is((currant.status('00000000-0000-7000-8000-0000000f0041')).status, 'running', 'a task outlives its workflow');
select test.force(:'above') as word \gset
select is(
    (currant.status('00000000-0000-7000-8000-0000000f0041')).status, 'cancelled',
    'and is ended with the workflow above that'
);

-- What was locked is done by a tick: as if it had been.
select currant.enqueue('f', '{}', '{"queue": "force"}') as locked \gset
select token from currant.claim(:'worker', '{force}', 1) \gset
select currant._force_later(:'locked', 'later', 1, currant._now()) \gset
select currant._force_later(:'locked', 'later', 1, currant._now()) \gset
select is((currant.status(:'locked')).status, 'running', 'a task that was locked is still running');
select ok((currant.status(:'locked')).is_cancel_requested, 'with the request noted');
select is((currant.status(:'locked')).due_at, null, 'it does not wait for a time');
select test.pass('1 second');
select is((currant.tick('due')).done, 2, 'a tick comes back to it');
select is((currant.status(:'locked')).error ->> 'message', 'later', 'and ends it');

-- A workflow that was locked, and ended by itself before the tick.
select currant.enqueue('w', '{}', '{"queue": "force", "kind": "workflow"}') as above \gset
select test.activate(
    :'worker', :'above', test.start(1, 'task', '00000000-0000-7000-8000-0000000f0051')
) as word \gset
select token from currant.claim(:'worker', '{force}', 1) \gset
select currant._force_later(:'above', 'later', 1, currant._now()) \gset
select currant.signal(:'above', 's') as arrival \gset
select is(
    test.activate(:'worker', :'above', test.command(null, 'complete', null, '{"result": 1}', 2)), 'accepted',
    'a workflow may end by itself before that'
);
select is((currant.status('00000000-0000-7000-8000-0000000f0051')).status, 'running', 'and leave a task running');
select test.pass('1 second');
select currant.tick('due') \gset
select is(
    (currant.status('00000000-0000-7000-8000-0000000f0051')).status, 'cancelled', 'the tick ends what it left running'
);
select is(test.left_of(:'above'), 0::bigint, 'and nothing is left');

select throws_ok(
    format($$ select currant.cancel(%L, null, '{"force": 1}') $$, :'done'), '22023', null, 'force is true or false'
);
select throws_ok(
    format($$ select currant.cancel(%L, null, '{"now": true}') $$, :'done'), '22023', null, 'other options are refused'
);

select * from finish();
rollback;

-- advance: what becomes of the tasks and children that a workflow leaves open.

begin;

\ir ../lib/helpers.psql

select plan(27);

select test.stop_clock('2030-01-01 00:00:00+00');
select test.worker('family') as worker \gset
create function test.flow() returns uuid language sql as $$
    select currant.enqueue('w', '{}', '{"queue": "family", "kind": "workflow"}')
$$;
create function test.id(n integer) returns uuid language sql as $$
    select ('00000000-0000-7000-8000-0000000cc' || lpad(n::text, 3, '0'))::uuid
$$;
create function test.task(n integer, id uuid, event integer default 1) returns jsonb language sql as $$
    select test.command(n, 'task', 'f', jsonb_build_object('id', id, 'options', '{"queue": "family_tasks"}'::jsonb), event)
$$;
create function test.line(id uuid) returns text language sql as $$
    select s.status || case when s.is_cancel_requested and s.finished_at is null then ', asked to stop' else '' end
    from currant.status(line.id) as s
$$;

-- One of each: not begun, begun, blocked, running, abandoned and begun, abandoned and not begun.
select test.flow() as id \gset
select test.activate(:'worker', :'id', jsonb_build_array(
    test.child_command(1, test.id(1), '{"delay": 60}'), test.child_command(2, test.id(2)), test.child_command(3, test.id(3)),
    test.child_command(4, test.id(4)), test.child_command(5, test.id(5), '{"on_parent_end": "abandon"}'),
    test.child_command(6, test.id(6), '{"on_parent_end": "abandon", "delay": 60}'), test.task(7, test.id(7))
)) as word \gset
select count(*) from (select test.activate(:'worker', test.id(n)) from generate_series(2, 5) as n) as x \gset
select currant.signal(test.id(3), 's') as arrival \gset
select test.activate(:'worker', test.id(3), '[]', '{"blocked": "unknown function"}') as word \gset
select currant.signal(test.id(4), 's') as arrival \gset
select token, last_event from test.claim_flow(:'worker', test.id(4)) \gset
select is(
    array(select test.line(test.id(n)) from generate_series(1, 7) as n order by n),
    array['pending', 'suspended', 'blocked', 'running', 'suspended', 'pending', 'pending'],
    'a workflow has children in every state'
);
select currant.signal(:'id', 's') as arrival \gset
select is(
    test.activate(:'worker', :'id', test.command(null, 'complete', null, '{"result": 0}', 2)), 'accepted', 'it ends'
);
select is(test.line(test.id(1)), 'cancelled', 'what has not begun ends with it');
select is((currant.status(test.id(1))).error ->> 'message', 'the workflow has ended', 'for that reason');
select is(test.line(test.id(2)), 'suspended, asked to stop', 'what has begun is asked to stop');
select is(test.inbox(test.id(2)), '[["cancel_requested", null, null]]', 'by an event');
select is(test.line(test.id(3)), 'cancelled', 'what is blocked has nobody to ask, and ends');
select is(test.line(test.id(4)), 'running, asked to stop', 'what is running gets the request with its next activation');
select is(test.line(test.id(5)), 'suspended', 'what is to outlive it does not notice');
select is(test.line(test.id(6)), 'pending', 'whether it has begun or not');
select is(test.line(test.id(7)), 'cancelled', 'a task ends, too');
select is(
    (select count(*) from currant.inbox where workflow_id = :'id')
    + (select count(*) from currant.ready where execution_id = :'id')
    + (select count(*) from currant.delayed where execution_id in (:'id', test.id(1), test.id(3))),
    0::bigint, 'nothing is left lying about'
);
select is(
    currant.advance(:'worker', test.id(4), :token, :last_event, '{}', '[]'), 'accepted', 'the running one goes on until then'
);
select is(
    test.activate(:'worker', test.id(4), test.command(null, 'cancelled', null, null, 2)), 'accepted',
    'and ends as it sees fit'
);
select is(
    test.activate(:'worker', test.id(5), test.command(null, 'complete', null, null, 2)), null,
    'an abandoned one is not even woken'
);

-- Fire and forget: a child asked for in the last commit.
select test.flow() as brief \gset
select test.activate(:'worker', :'brief', jsonb_build_array(
    test.child_command(1, test.id(21), '{"on_parent_end": "abandon"}'), test.child_command(2, test.id(22)), test.task(3, test.id(23)),
    test.child_command(4, test.id(24), '{"on_parent_end": "abandon", "key": "last"}'),
    test.child_command(5, test.id(25), '{"key": "not made"}'),
    test.child_command(6, test.id(26), '{"on_parent_end": "abandon"}'), test.command(6, 'cancel'),
    test.command(null, 'complete')
)) as word \gset
select is(
    (select array_agg(id order by id) from currant.executions where id between test.id(21) and test.id(29)),
    array[test.id(21), test.id(24)], 'of what is asked for with the end only what is to outlive it is made'
);
select is((currant.status(test.id(21))).parent_id, :'brief', 'it belongs to its parent all the same');
select is(
    (select count(*) from currant.keys where key = 'not made'), 0::bigint, 'the key of another is not taken'
);

-- Three levels: the request goes down as each of them ends.
select test.flow() as top \gset
select test.activate(:'worker', :'top', test.child_command(1, test.id(31))) as word \gset
select test.activate(:'worker', test.id(31), jsonb_build_array(test.child_command(1, test.id(32)), test.child_command(2, test.id(34)))) as word \gset
select test.activate(:'worker', test.id(32), test.task(1, test.id(33))) as word \gset
select results_eq(
    $$ select root_id from currant.executions where id between test.id(31) and test.id(34) $$,
    format($$ select %L::uuid from generate_series(1, 4) $$, :'top'), 'all of a family have one root'
);
select currant.cancel(:'top') as word \gset
select test.activate(:'worker', :'top', test.command(null, 'cancelled', null, null, 2)) as word \gset
select is(
    array(select test.line(test.id(n)) from generate_series(31, 34) as n order by n),
    array['suspended, asked to stop', 'suspended', 'pending', 'pending'], 'a cancelled workflow has its child cancelled'
);
select test.activate(:'worker', test.id(31), test.command(null, 'cancelled', null, null, 2)) as word \gset
select is(
    array(select test.line(test.id(n)) from generate_series(31, 34) as n order by n),
    array['cancelled', 'suspended, asked to stop', 'pending', 'cancelled'], 'that has its own cancelled'
);
select test.activate(:'worker', test.id(32), test.command(null, 'cancelled', null, null, 2)) as word \gset
select is(
    array(select test.line(test.id(n)) from generate_series(31, 34) as n order by n),
    array['cancelled', 'cancelled', 'cancelled', 'cancelled'], 'and so on to the last task'
);

-- Blocked all the way down: nobody is there to be asked, and the server's stack is not endless.
select test.flow() as deep \gset
select test.activate(:'worker', :'deep', test.child_command(1, test.id(100))) as word \gset
insert into currant.executions (
    id, kind, function, version, queue, priority, args, max_attempts, timeout, retry_delay, retry_backoff, retry_max_delay,
    parent_id, command_number, root_id, created_at
)
select
    test.id(n), e.kind, e.function, e.version, e.queue, e.priority, e.args, e.max_attempts, e.timeout, e.retry_delay,
    e.retry_backoff, e.retry_max_delay, test.id(n - 1), 1, e.root_id, e.created_at
from generate_series(101, 500) as n
join currant.executions as e on e.id = test.id(100);
insert into currant.workflows (execution_id, queue, rank, timeout, version, last_at, last_event, open_children, blocked_reason)
select test.id(n), w.queue, w.rank, w.timeout, w.version, w.last_at, 1, 1, 'other code'
from generate_series(101, 500) as n
join currant.workflows as w on w.execution_id = test.id(100);
update currant.workflows set last_event = 1, open_children = 1, blocked_reason = 'other code' where execution_id = test.id(100);
select currant.signal(:'deep', 's') as arrival \gset
select test.activate(:'worker', :'deep', test.command(null, 'complete', null, null, 2)) as word \gset
select is(
    (select count(*) from currant.outcomes where execution_id between test.id(100) and test.id(500) and status = 'cancelled'),
    401::bigint, 'four hundred blocked generations end at once'
);

-- A parent that times out.
select currant.enqueue('w', '{}', '{"queue": "family", "kind": "workflow", "timeout": 10}') as slow \gset
select test.activate(:'worker', :'slow', jsonb_build_array(test.child_command(1, test.id(61)), test.task(2, test.id(62)))) as word \gset
select test.activate(:'worker', test.id(61)) as word \gset
select test.pass('11 seconds');
select test.keep_steady();
select currant.tick('due') as ticked \gset
select is(test.line(:'slow'), 'failed', 'a workflow runs out of its time');
select is(test.line(test.id(61)), 'suspended, asked to stop', 'its child is asked to stop');
select is(test.line(test.id(62)), 'cancelled', 'its task is cancelled');

-- A child's end that the parent never applies.
select test.flow() as deaf \gset
select test.activate(:'worker', :'deaf', test.child_command(1, test.id(71))) as word \gset
select test.activate(:'worker', test.id(71), test.command(null, 'complete')) as word \gset
select token from test.claim_flow(:'worker', :'deaf') \gset
select is(
    currant.advance(:'worker', :'deaf', :token, 2, '{}', '[]'), 'stale', 'an activation of another state changes nothing'
);

select * from finish();
rollback;

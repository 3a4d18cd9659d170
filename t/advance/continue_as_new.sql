-- advance: a workflow that continues as new, with everything that is its own and nothing of its old run.

begin;

\ir ../lib/helpers.psql

select plan(60);

select test.stop_clock('2030-01-01 00:00:00+00');
select test.worker('again') as worker \gset
create function test.flow(options jsonb default '{}') returns uuid language sql as $$
    select currant.enqueue('w', '{"n": 0}', '{"queue": "again", "kind": "workflow"}' || options)
$$;
create function test.id(n integer) returns uuid language sql as $$
    select ('00000000-0000-7000-8000-0000000ce' || lpad(n::text, 3, '0'))::uuid
$$;
create function test.task(n integer, id uuid, event integer default 1) returns jsonb language sql as $$
    select test.command(n, 'task', 'f', jsonb_build_object('id', id, 'options', '{"queue": "again_tasks"}'::jsonb), event)
$$;
create function test.again(event integer, n integer, signals jsonb default '[]') returns jsonb language sql as $$
    select test.command(
        null, 'continue_as_new', null,
        jsonb_build_object('args', jsonb_build_object('n', n), 'signals', signals), event
    )
$$;
create function test.claimed(worker uuid, workflow uuid) returns text language plpgsql as $$
declare
    _claimed currant.claimed;
begin
    select c.* into _claimed from currant.resume(worker) as c where c.execution_id = workflow;
    if not found then
        _claimed := test.claim_flow(worker, workflow);
    end if;
    return format(
        'args %s, last event %s, last command %s, first event %s, carried %s, inbox %s', _claimed.args,
        _claimed.last_event, _claimed.last_command, _claimed.first_event, coalesce(_claimed.carried::text, 'nothing'),
        (
            select array_agg(i.value ->> 'kind' order by i.n)
            from jsonb_array_elements(_claimed.inbox) with ordinality as i (value, n)
        )
    );
end
$$;
create function test.give_back(worker uuid, workflow uuid) returns text language sql as $$
    select currant.release(worker, workflow, c.token) from currant.resume(worker) as c where c.execution_id = workflow
$$;

-- The plainest one: at once, then the new run to its end.
select test.flow() as plain \gset
select is(
    test.claimed(:'worker', :'plain'),
    'args {"n": 0}, last event 0, last command 0, first event 1, carried nothing, inbox ', 'a first run'
);
select token from currant.resume(:'worker') where execution_id = :'plain' \gset
select is(
    currant.advance(:'worker', :'plain', :token, 0, '{}', jsonb_build_array(test.again(1, 1)), '{"waits_for": "x"}'),
    'accepted', 'continues as new'
);
select is(
    currant.advance(:'worker', :'plain', :token, 0, '{}', jsonb_build_array(test.again(1, 1))), 'already',
    'a repeated call says so'
);
select results_eq(
    format($$ select id, status, waits_for from currant.execution_status where id = %L $$, :'plain'),
    format($$ values (%L::uuid, 'suspended', 'a free worker on queue again') $$, :'plain'),
    'the execution is the same, open, and to be run'
);
select is(
    (select count(*) from currant.ready where execution_id = :'plain' and attempt = 1), 1::bigint, 'once'
);
select is(
    test.claimed(:'worker', :'plain'),
    'args {"n": 1}, last event 1, last command 0, first event 2, carried [], inbox ', 'the new run has its own arguments'
);
select is(test.give_back(:'worker', :'plain'), 'accepted', 'given back');
select is(
    test.claimed(:'worker', :'plain'),
    'args {"n": 1}, last event 1, last command 0, first event 2, carried [], inbox ', 'it is claimed again as before'
);
select test.give_back(:'worker', :'plain') as word \gset
select is(
    test.activate(:'worker', :'plain', test.task(1, test.id(1), 2), '{"started": {"run": 2}, "version": 1}'),
    'accepted', 'its first activation'
);
select results_eq(
    format($$ select event, position, kind, number, payload from currant.history(%L) order by event, position $$, :'plain'),
    $$ values (1, 0, 'started', null::integer, null::jsonb), (1, 1, 'continue_as_new', null, '{"args": {"n": 1}, "signals": []}'),
        (2, 0, 'started', null, '{"run": 2}'), (2, 1, 'task', 1, '{"queue": "again_tasks"}') $$,
    'begins with an event of its own in the same history'
);
select results_eq(
    format($$ select event, kind from currant.history(%L, 1) order by event, position $$, :'plain'),
    $$ values (2, 'started'), (2, 'task') $$, 'from which it is replayed'
);
select is((currant.status(:'plain')).args, '{"n": 0}', 'the status has the arguments of the first');
select token from currant.claim(:'worker', '{again_tasks}', 1) \gset
select currant.complete(:'worker', test.id(1), :token, '1') as word \gset
select is(
    test.claimed(:'worker', :'plain'),
    'args {"n": 1}, last event 2, last command 1, first event 2, carried nothing, inbox {task_completed}',
    'nothing is carried once it has begun'
);
select test.give_back(:'worker', :'plain') as word \gset
select is(
    test.activate(:'worker', :'plain', jsonb_build_array(test.again(3, 2, '[{"name": "a", "payload": 1}]'))),
    'accepted', 'it continues a second time'
);
select is(
    test.claimed(:'worker', :'plain'),
    'args {"n": 2}, last event 3, last command 1, first event 4, carried [{"name": "a", "payload": 1}], inbox ',
    'with the signals it had not read, and its commands numbered on'
);
select test.give_back(:'worker', :'plain') as word \gset
select is(
    test.activate(:'worker', :'plain', test.command(null, 'complete', null, '{"result": "done"}', 4)), 'accepted',
    'and ends'
);
select is(currant.result(:'plain'), '"done"', 'with the result that everybody has waited for');
select is(
    (currant.status(:'plain')).started_at, '2030-01-01 00:00:00+00', 'it has been running since it first began'
);

-- What it leaves behind, and what it takes along.
select currant.enqueue('f', '{}', '{"queue": "again_never"}') as other \gset
select test.flow('{"timeout": 100}') as id \gset
select test.activate(:'worker', :'id', jsonb_build_array(
    test.task(1, test.id(11)), test.task(2, test.id(12)), test.child_command(3, test.id(13)),
    test.child_command(4, test.id(14)), test.child_command(5, test.id(15), '{"on_parent_end": "abandon"}'),
    test.command(6, 'timer', null, '{"seconds": 60}'),
    test.command(7, 'attach', null, jsonb_build_object('execution', :'other')),
    test.command(null, 'version', 'change', '{"version": 2}')
)) as word \gset
select test.activate(:'worker', test.id(14)) as word \gset
select token as task_token from currant.claim(:'worker', '{again_tasks}', 1) \gset
select test.pass('40 seconds');
select currant.signal(:'id', 'first') as arrival \gset
select token, last_event, inbox -> 0 -> 'arrival' as arrival
from test.claim_flow(:'worker', :'id') \gset
select currant.signal(:'id', 'second') as unread \gset
select is(
    currant.advance(
        :'worker', :'id', :token, 1, array[:arrival], jsonb_build_array(
            test.task(8, test.id(18), 2), test.child_command(9, test.id(19), '{"on_parent_end": "abandon"}', 2),
            test.command(10, 'timer', null, '{"seconds": 1}', 2),
            test.command(11, 'attach', null, jsonb_build_object('execution', :'other'), 2),
            test.command(12, 'queue', 'f', jsonb_build_object('id', test.id(20), 'options', '{"queue": "again_never"}'::jsonb), 2),
            test.again(2, 1, '[{"name": "first", "payload": null}]')
        )
    ), 'accepted', 'it is not refused for a signal that it has not read'
);
select is((currant.status(test.id(11))).status, 'running', 'a task that is running goes on');
select ok((currant.status(test.id(11))).is_cancel_requested, 'but is asked to stop');
select is(
    format('%s: %s', (currant.status(test.id(12))).status, (currant.status(test.id(12))).error ->> 'message'),
    'cancelled: the workflow has continued as new', 'one that was not running ends'
);
select is((currant.status(test.id(13))).status, 'cancelled', 'so does a child that has not begun');
select is(test.inbox(test.id(14)), '[["cancel_requested", null, null]]', 'one that has begun is asked');
select is(test.inbox(test.id(15)), '[]', 'what is to outlive its parent outlives the run');
select is(
    (select array_agg(id order by id) from currant.executions where id between test.id(18) and test.id(20)),
    array[test.id(19), test.id(20)],
    'of what it asked for last, only what outlives it and what is independent is made'
);
select is(
    (select array_agg(kind) from currant.delayed where execution_id = :'id'), null,
    'its timers, its attachments and its deadline are gone'
);
select is((select count(*) from currant.watchers where workflow_id = :'id'), 0::bigint, 'nobody will tell it');
select results_eq(
    format(
        $$ select used, active_since, is_deadline_armed, lost_activations, refused_ends, waits_for
        from currant.workflows where execution_id = %L $$, :'id'
    ),
    $$ values (interval '0', null::timestamptz, false, 0, 0, null::text) $$, 'its time starts anew'
);
select is(test.counters(:'id'), '2 tasks, 4 children', 'whose end it has not applied is still counted');
select is(
    test.claimed(:'worker', :'id'),
    'args {"n": 1}, last event 2, last command 12, first event 3, carried [{"name": "first", "payload": null}], '
    'inbox {signal_received,task_failed,child_failed}',
    'the unread signal is still there, and so are the ends of what was cancelled'
);
select test.give_back(:'worker', :'id') as word \gset
select test.activate(:'worker', :'id', '[]', '{"started": {"signals": ["…"]}}') as word \gset
select is(test.counters(:'id'), '1 tasks, 3 children', 'they count in the new run');
select isnt((select active_since from currant.workflows where execution_id = :'id'), null, 'an open task makes its time pass');
select ok(currant.fail(:'worker', test.id(11), :task_token, '{"type": "Cancelled"}') = 'accepted', 'the old task stops');
select test.activate(:'worker', test.id(14), test.command(null, 'cancelled', null, null, 2)) as word \gset
select test.activate(:'worker', test.id(15), test.command(null, 'complete')) as word \gset
select test.activate(:'worker', test.id(19), test.command(null, 'complete')) as word \gset
select test.activate(:'worker', :'id') as word \gset
select is(test.counters(:'id'), '0 tasks, 0 children', 'in the end all are accounted for');
select results_eq(
    format(
        $$ select kind, number from currant.history(%L, 3) where position = 0 order by event $$, :'id'
    ),
    $$ values ('signal_received', null::integer), ('task_failed', 2), ('child_failed', 3),
        ('task_failed', 1), ('child_failed', 4), ('child_completed', 5), ('child_completed', 9) $$,
    'its history has them under the numbers of the old run'
);
select is(
    (select count(*) from currant.workflow_versions where oldest_id = :'id' and version is not null), 0::bigint,
    'the new run has no markers'
);

-- Its own time: it would have been over.
select test.pass('80 seconds');
select test.keep_steady();
select currant.tick('due') as ticked \gset
select is((currant.status(:'id')).status, 'suspended', 'the time of the old run does not count');
select currant.signal(:'id', 's') as arrival \gset
select test.activate(:'worker', :'id', test.task(13, test.id(21), 11)) as word \gset
select test.pass('70 seconds');
select test.keep_steady();
select currant.tick('due') as ticked \gset
select is((currant.status(:'id')).status, 'suspended', 'the new run has all of it');
select test.pass('31 seconds');
select test.keep_steady();
select currant.tick('due') as ticked \gset
select is((currant.status(:'id')).status, 'failed', 'and runs out of it like any other');

-- A cancellation.
select test.flow() as asked \gset
select test.activate(:'worker', :'asked') as word \gset
select currant.signal(:'asked', 's') as arrival \gset
select token, inbox -> 0 -> 'arrival' as arrival
from test.claim_flow(:'worker', :'asked') \gset
select currant.cancel(:'asked', 'now') as word \gset
select is(
    currant.advance(:'worker', :'asked', :token, 1, array[:arrival], jsonb_build_array(test.again(2, 1))), 'accepted',
    'an unread cancellation does not keep it from continuing'
);
select is(currant.cancel(:'asked'), 'suspended', 'nor does another make it end before it has heard');
select is(
    test.claimed(:'worker', :'asked'),
    'args {"n": 1}, last event 2, last command 0, first event 3, carried [], inbox {cancel_requested}',
    'the request is an event of the new run'
);
select test.give_back(:'worker', :'asked') as word \gset
select is(
    test.activate(:'worker', :'asked', test.again(4, 2)), 'accepted', 'which may catch it and continue'
);
select ok(not (currant.status(:'asked')).is_cancel_requested, 'then the request is settled');
select is(currant.cancel(:'asked', 'really'), 'suspended', 'and a later one');
select is(
    test.claimed(:'worker', :'asked'),
    'args {"n": 2}, last event 4, last command 0, first event 5, carried [], inbox {cancel_requested}', 'is heard again'
);
select token from currant.resume(:'worker') where execution_id = :'asked' \gset
select is(
    currant.advance(:'worker', :'asked', :token, 4, '{}', '[]', '{"blocked": "other code"}'), 'accepted',
    'a run that blocks while it is asked'
);
select is((currant.status(:'asked')).status, 'cancelled', 'ends, as any run does');

-- Lost activations, and a first activation that is lost.
select test.flow() as poor \gset
select test.activate(:'worker', :'poor', test.again(1, 1)) as word \gset
select token from test.claim_flow(:'worker', :'poor') \gset
select test.worker('again') as second \gset
select currant.deregister_worker(:'worker') as n \gset
select is(
    test.claimed(:'second', :'poor'),
    'args {"n": 1}, last event 1, last command 0, first event 2, carried [], inbox ',
    'the first activation of a new run moves to another worker as it was'
);
select test.give_back(:'second', :'poor') as word \gset

-- What it must not do.
select throws_ok(
    format($$ select test.activate(%L, %L, %L) $$, :'second', :'poor', c.commands), c.state, null, c.sentence
)
from (values
    (jsonb_build_array(test.again(2, 1), test.command(null, 'complete', null, null, 2)), '22023', 'it continues or ends'),
    (jsonb_build_array(test.again(3, 1)), '22023', 'not at an event to come'),
    (
        jsonb_build_array(test.command(null, 'continue_as_new', null, jsonb_build_object('args', repeat('x', 2000000)), 2)),
        'KR005', 'not with arguments that are too large'
    )
) as c (commands, state, sentence);
select currant.signal(:'poor', 's') as arrival \gset
select throws_ok(
    format($$ select test.activate(%L, %L, %L) $$, :'second', :'poor', jsonb_build_array(test.again(2, 1))), '22023', null,
    'nor before the last event of the activation'
);
select is(
    test.activate(:'second', :'poor', jsonb_build_array(test.again(3, 1)), jsonb_build_object(
        'started', jsonb_build_object('signals', (select jsonb_agg(repeat(md5(n::text), 1000)) from generate_series(1, 60) as n))
    )), 'accepted', 'signals that were taken over may be more than one payload may'
);

-- What earlier runs have started is not gone through again.
create function test.read_of_executions() returns bigint language sql volatile as $$
    select sum(pg_stat_get_xact_tuples_returned(i.id))::bigint
    from unnest(
        '{currant.executions,currant.executions_pkey,currant.executions_parent_id_idx}'::regclass[]
    ) as i (id)
$$;
create function test.step(worker uuid, workflow uuid, variadic commands jsonb[]) returns text language plpgsql as $$
declare
    _event integer;
begin
    perform currant.signal(workflow, 's');
    select w.last_event + 1 into _event from currant.workflows as w where w.execution_id = workflow;
    return test.activate(worker, workflow, (select jsonb_agg(c || jsonb_build_object('event', _event)) from unnest(commands) as c));
end
$$;
select test.worker('again') as worker \gset
select test.flow() as long \gset
select test.activate(:'worker', :'long') as word \gset
select test.step(
    :'worker', :'long', variadic array(select test.task(n, test.id(200 + n)) from generate_series(1, 300) as n)
) as word \gset
select is(test.step(:'worker', :'long', test.again(1, 1)), 'accepted', 'a run ends that has started much');
select is(
    (select count(*) from currant.outcomes where execution_id between test.id(201) and test.id(500)), 300::bigint,
    'all of which is cancelled'
);
select test.activate(:'worker', :'long') as word \gset
select test.step(:'worker', :'long', test.task(301, test.id(501))) as word \gset
select test.read_of_executions() as before \gset
select test.step(:'worker', :'long', test.again(1, 2)) as word \gset
select cmp_ok(
    test.read_of_executions() - :before, '<', 200::bigint, 'the next one''s end reads what that has started'
);
select test.activate(:'worker', :'long') as word \gset
select test.step(:'worker', :'long', test.task(302, test.id(502))) as word \gset
select test.read_of_executions() as before \gset
select test.step(:'worker', :'long', test.command(null, 'complete')) as word \gset
select cmp_ok(test.read_of_executions() - :before, '<', 200::bigint, 'and so does the end of the last');
select is(
    (select array_agg((currant.status(i)).status) from unnest(array[test.id(501), test.id(502)]) as i),
    '{cancelled,cancelled}', 'which is cancelled'
);

select * from finish();
rollback;

-- step_many: what is computed ahead of the wrong state is refused, and the completions count all the same.

begin;

\ir ../lib/helpers.psql
\ir ../lib/steps.psql

select plan(36);

select test.stop_clock('2030-01-01 00:00:00+00');
select test.worker('steps') as worker \gset
select test.worker('steps') as other \gset
select set_config('test.worker', :'worker', true) \gset

-- A workflow whose task is about to complete; then something happens to it, and the worker sends what it has computed
-- before, with these changes.
create function test.try(n integer, disturbance text, changes jsonb default '{}')
returns text
language plpgsql
as $$
declare
    _worker uuid := current_setting('test.worker');
    _ahead jsonb;
begin
    assert test.begin_flow(_worker, test.id(n), test.task(1, test.id(n + 1)), test.task(2, test.id(n + 2))) = 'accepted';
    perform currant.claim(_worker, '{steps}', 2);
    perform test.pass('1 second');
    _ahead := test.ahead(test.id(n), array[test.id(n + 1)], test.task(3, test.id(n + 3), 2));
    if disturbance is not null then
        execute disturbance using _worker, test.id(n), test.id(n + 1), test.id(n + 2);
    end if;
    return test.said(currant.step_many(
        _worker, jsonb_build_array(_ahead || changes), '{"queues": ["steps"], "slots": 1}'
    ));
end
$$;
create function test.never_made(n integer)
returns boolean
language sql
begin atomic
    select not exists (select from currant.executions as e where e.id = test.id(n));
end;

select is(
    test.try(10, $$ select currant.signal($2, 's') $$), 'refused; completed accepted; started nothing',
    'not if a signal has come'
);
select is(test.told(test.id(10)), 'at event 1, inbox: signal_received task_completed, 2 wake rows', 'it is told of both');
select is((currant.status(test.id(11))).status, 'completed', 'the task has completed');
select ok(test.never_made(13), 'and what was computed is forgotten');

select is(
    test.try(20, $$ select currant.cancel($2) $$), 'refused; completed accepted; started nothing',
    'not if its cancellation was asked for'
);
select is(test.told(test.id(20)), 'at event 1, inbox: cancel_requested task_completed, 2 wake rows', 'it is told of both');

create function test.lease(worker uuid, id uuid) returns void language plpgsql as $$
begin
    perform currant.signal(id, 's');
    assert (test.claim_flow(worker, id)).token is not null;
end
$$;
select is(
    test.try(30, $$ select test.lease($1, $2) $$), 'refused; completed accepted; started nothing',
    'not while somebody runs it'
);
select is(test.told(test.id(30)), 'at event 1, inbox: signal_received task_completed, 1 wake rows', 'whoever runs it comes again');

create function test.advance(worker uuid, id uuid, options jsonb default '{}') returns void language plpgsql as $$
begin
    perform currant.signal(id, 's');
    assert test.activate(worker, id, '[]', options) = 'accepted';
end
$$;
select is(
    test.try(40, $$ select test.advance($1, $2) $$), 'refused; completed accepted; started nothing',
    'not if it has gone on'
);
select is(test.told(test.id(40)), 'at event 2, inbox: task_completed, 1 wake rows', 'it is told where it is now');
select is(
    test.try(50, $$ select test.advance($1, $2, '{"version": 2}') $$, '{"last_event": 2}'),
    'refused; completed accepted; started nothing', 'not if newer code has taken it on'
);
select is(test.told(test.id(50)), 'at event 2, inbox: task_completed, 1 wake rows', 'it is told');
select is(
    test.try(55, $$ select test.advance($1, $2, '{"version": 2}') $$, '{"last_event": 2, "options": {"version": 2}, "commands": []}'),
    'accepted; completed accepted; started nothing', 'unless the worker has that code'
);
select is(
    test.try(60, $$ select test.advance($1, $2, '{"blocked": "no such code"}') $$), 'refused; completed accepted; started nothing',
    'not if it is blocked'
);
select is((currant.status(test.id(60))).status, 'blocked', 'it stays so');
select is(
    test.try(
        70, $$ select test.advance($1, $2) $$,
        jsonb_build_object('last_event', 2, 'at', '2030-01-01 00:00:00+00'::timestamptz)
    ),
    'refused; completed accepted; started nothing', 'not at a time before its last event'
);
select is(
    test.try(80, null, jsonb_build_object('at', '2030-01-01 01:00:00+00'::timestamptz)),
    'refused; completed accepted; started nothing', 'nor at a time to come'
);
select is(
    test.try(90, $$ select test.pass('11 seconds') $$),
    'refused; completed accepted; started nothing', 'nor long after, which its timers would not know'
);
select is(
    test.try(100, $$ select test.pass('9 seconds') $$),
    'accepted; completed accepted; started 103', 'but a little late'
);
select is(
    (select at from currant.history(test.id(100)) where event = 2 limit 1), currant._now() - interval '9 seconds',
    'then it happened when the worker says'
);
create function test.again(worker uuid, id uuid) returns void language plpgsql as $$
begin
    perform currant.signal(id, 's');
    assert test.activate(
        worker, id, test.command(null, 'continue_as_new', null, '{"args": {}, "signals": []}', 2)
    ) = 'accepted';
end
$$;
select is(
    test.try(110, $$ select test.again($1, $2) $$, '{"last_event": 2, "commands": []}'),
    'refused; completed accepted; started nothing', 'not before a new run has begun'
);
select is(
    test.try(120, $$ select currant.cancel($2, null, '{"force": true}') $$), 'refused; completed lost; started nothing',
    'not if it has ended, and its tasks with it'
);
select is(
    test.try(130, $$ select currant._end_workflow($2, 'failed', '{}', currant._now()) $$),
    'refused; completed accepted; started nothing', 'not if it has ended by itself'
);
select is_empty($$ select from currant.inbox where workflow_id = test.id(130) $$, 'then nobody is told');
select is(
    test.try(140, $$ select currant.complete_many($1, array[$3], array[(select token from currant.leases where execution_id = $3)], '{"1"}') $$),
    'refused; completed already; started nothing', 'not if the task has completed before'
);
select is(test.told(test.id(140)), 'at event 1, inbox: task_completed, 1 wake rows', 'it is told once');
select is(currant.result(test.id(141)), '1', 'and the first result stays');
select is(
    test.try(
        150, null,
        jsonb_build_object('completions', jsonb_build_array(
            jsonb_build_object('execution', test.id(151), 'token', 1, 'result', 1)
        ))
    ),
    'refused; completed lost; started nothing', 'not for a lease that is none'
);
select is(test.told(test.id(150)), 'at event 1, inbox: empty, 0 wake rows', 'nothing has happened');

-- All of its completions have to be new.
select is(test.begin_flow(:'worker', test.id(200), test.task(1, test.id(201)), test.task(2, test.id(202))), 'accepted', 'a workflow asks for two');
select count(*) from currant.claim(:'worker', '{steps}', 10) \gset
select test.ahead(test.id(200), array[test.id(201), test.id(202)], test.task(3, test.id(203), 2)) as ahead \gset
select currant.fail(
    :'worker', test.id(202), (select token from currant.leases where execution_id = test.id(202)),
    '{"type": "E", "retryable": false}'
) as word \gset
select currant.claim(:'other', '{steps}', 0, 10);
select is(
    test.said(currant.step_many(:'worker', jsonb_build_array(:'ahead'::jsonb))),
    'refused; completed accepted already; started nothing', 'one that is answered by another call spoils the others'
);

-- Whose task it is.
select test.begin_flow(:'worker', test.id(300), test.task(1, test.id(301))) as begun \gset
select test.begin_flow(:'worker', test.id(310), test.task(1, test.id(311))) as begun \gset
select count(*) from currant.claim(:'worker', '{steps}', 10) \gset
select is(
    test.said(currant.step_many(:'other', jsonb_build_array(test.ahead(test.id(300), array[test.id(301)])))),
    'refused; completed lost; started nothing', 'not with another worker''s lease'
);
select is(
    test.said(currant.step_many(:'worker', jsonb_build_array(test.ahead(test.id(300), array[test.id(311)])))),
    'refused; completed accepted; started nothing', 'not with a task of another workflow'
);
select is(test.told(test.id(310)), 'at event 1, inbox: task_completed, 1 wake rows', 'which is told');

-- One workflow twice.
select test.begin_flow(:'worker', test.id(400), test.task(1, test.id(401)), test.task(2, test.id(402))) as begun \gset
select count(*) from currant.claim(:'worker', '{steps}', 10) \gset
select is(
    test.said(currant.step_many(:'worker', jsonb_build_array(
        test.ahead(test.id(400), array[test.id(401)]), test.ahead(test.id(400), array[test.id(402)]) || '{"last_event": 2}'
    ))),
    'accepted refused; completed accepted accepted; started nothing', 'a workflow goes on once in a call'
);
select is(test.told(test.id(400)), 'at event 2, inbox: task_completed, 1 wake rows', 'and is told of the rest');

select * from finish();
rollback;

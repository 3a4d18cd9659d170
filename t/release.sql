-- release and release_many: a graceful give-back, which does not count as an attempt.

begin;

\ir lib/helpers.psql

select plan(36);

select test.stop_clock('2030-01-01 00:00:00+00');
select test.worker('release') as worker \gset
select currant.enqueue('f', '{}', '{"queue": "release", "retries": 0}') as id \gset
select token from currant.claim(:'worker', '{release}', 1) \gset
select count(*) from currant.heartbeat(
    :'worker', array[:'id']::uuid[], array[:token], array['{"page": 3}']::jsonb[]
) \gset

select is(
    currant.release('00000000-0000-7000-8000-000000000000', :'id', :token), 'lost',
    'nobody gives back another''s lease'
);
select is(currant.release(:'worker', :'id', :token), 'accepted', 'a lease is given back');
select is((currant.status(:'id')).status, 'pending', 'the task is pending again');
select is((currant.status(:'id')).waits_for, 'a free worker on queue release', 'and waits for a worker');
select is((currant.status(:'id')).attempts, '[]', 'no attempt is listed');
select is(currant.release(:'worker', :'id', :token), 'lost', 'the second time there is nothing to give back');
select is((select count(*) from currant.ready where execution_id = :'id'), 1::bigint, 'and nothing is queued twice');
select attempt, token from currant.claim(:'worker', '{release}', 1) \gset
select is(:attempt, 1, 'it is claimed for the same attempt');
select is((select details from currant.resume(:'worker')), '{"page": 3}', 'what it last reported comes with it');

-- With a reason.
select is(currant.release(:'worker', :'id', :token, 'worker does not know f'), 'accepted', 'a reason may be given');
select is((currant.status(:'id')).waits_for, 'worker does not know f', 'it is shown');
select is_empty(format($$ select * from currant.claim(%L, '{release}', 1) $$, :'worker'), 'then it waits for a moment');
select cmp_ok((currant.status(:'id')).due_at, '<=', '2030-01-01 00:00:05+00', 'the first time a short one');
select test.pass('1 hour');
select (currant.tick('due')).done \gset
select token from currant.claim(:'worker', '{release}', 1) \gset
select is(:done, 1, 'then it is ready again');
select currant.release(:'worker', :'id', :token, 'still does not know f') as word \gset
select ok(
    (currant.status(:'id')).due_at - currant._now() between '10 seconds' and '1 minute',
    'the longer it has been going on, the longer it waits, up to a minute'
);
select currant.register_functions('[{"name": "other"}]') as n \gset
select is_empty(
    format($$ select * from currant.claim(%L, '{release}', 1) $$, :'worker'),
    'a worker that knows something else changes nothing'
);
select currant.register_functions('[{"name": "f"}]') as n \gset
select results_eq(
    format($$ select execution_id from currant.claim(%L, '{release}', 1) $$, :'worker'), array[:'id'::uuid],
    'a worker that knows it gets it at once'
);
select is(
    (select attempt from currant.resume(:'worker')), 1, 'still for the first attempt'
);

-- Many, and workflows.
select count(*) from currant.enqueue_many('f', array['{}', '{}']::jsonb[], '{"queue": "release"}') \gset
select currant.enqueue('w', '{}', '{"queue": "release", "kind": "workflow"}') as workflow \gset
create temporary table many as select execution_id as id, token, kind from currant.claim(:'worker', '{release}', 5, 5);
select is(
    (select currant.release_many(:'worker', array_agg(id), array_agg(token)) from many),
    array['accepted', 'accepted', 'accepted'], 'tasks and workflows are given back together'
);
select is(
    (select currant.release_many(:'worker', array_agg(id), array_agg(token)) from many),
    array['lost', 'lost', 'lost'], 'once'
);
select is((currant.status(:'workflow')).status, 'pending', 'a workflow that has not begun is pending again');
select token from currant.claim(:'worker', '{release}', 0, 1) \gset
select is(
    currant.release(:'worker', :'workflow', :token, 'version 2 needed'), 'accepted',
    'it may be given back with a reason'
);
select is(
    (currant.status(:'workflow')).status || ', ' || (currant.status(:'workflow')).waits_for,
    'blocked, blocked: version 2 needed', 'then it is blocked'
);
select is(
    (select lost_activations from currant.workflows where execution_id = :'workflow'), 0,
    'no lost activation is counted'
);
select currant.register_functions('[{"name": "w", "kind": "workflow"}]') as n \gset
select results_eq(
    format($$ select execution_id from currant.claim(%L, '{release}', 0, 1) $$, :'worker'), array[:'workflow'::uuid],
    'a worker that knows it gets it at once, too'
);
select is(currant.release_many(:'worker', '{}', '{}'), '{}', 'nothing to give back is no error');
select throws_ok(
    format($$ select currant.release_many(%L, array[gen_random_uuid()], '{}') $$, :'worker'), '22023', null,
    'there are as many tokens as executions'
);

-- What another worker that is alive can run is left to that one soon, and is not blocked.
select currant.register_worker('{"queues": ["shared"], "functions": [{"name": "wf", "kind": "workflow", "version": 1}]}') as old \gset
select currant.register_worker('{"queues": ["shared"], "functions": [{"name": "wf", "kind": "workflow", "version": 2}]}') as new \gset
select currant.enqueue('wf', '{}', '{"queue": "shared", "kind": "workflow", "version": 2}') as id \gset
select token from currant.claim(:'old', '{shared}', 0, 1) \gset
select currant.release(:'old', :'id', :token, 'a worker that has version 2 of wf') as word \gset
select is((currant.status(:'id')).status, 'pending', 'a workflow that a living worker has the version of is not blocked');
select is((currant.status(:'id')).waits_for, 'a worker that has version 2 of wf', 'it says what it waits for');
select is((currant.status(:'id')).due_at, currant._now() + '100 milliseconds', 'and waits for a moment');
select test.pass('2 hours');
select count(*) from currant.heartbeat(:'old', '{}', '{}') \gset
select count(*) from currant.heartbeat(:'new', '{}', '{}') \gset
select (currant.tick('due')).done \gset
select token from currant.claim(:'old', '{shared}', 0, 1) \gset
select currant.release(:'old', :'id', :token, 'a worker that has version 2 of wf') as word \gset
select is((currant.status(:'id')).due_at, currant._now() + '500 milliseconds', 'half a second at the most, however often');
select test.pass('1 second');
select (currant.tick('due')).done \gset
select results_eq(
    format($$ select execution_id, last_event from currant.claim(%L, '{shared}', 0, 1) $$, :'new'),
    format($$ values (%L::uuid, 0) $$, :'id'), 'the other one gets it, and it has yet to begin'
);
select currant.release(:'new', :'id', token, 'not this one either') as word from currant.resume(:'new') \gset
select is((currant.status(:'id')).status, 'blocked', 'a worker of an older version is no reason to hope');
select currant.deregister_worker(:'new') as n \gset
select is_empty(
    format($$ select from currant.worker_functions where worker_id = %L $$, :'new'),
    'what a worker can run is forgotten with it'
);
select currant.enqueue('wf', '{}', '{"queue": "elsewhere", "kind": "workflow"}') as id \gset
select token from currant.claim(:'old', '{elsewhere}', 0, 1) \gset
select currant.release(:'old', :'id', :token, 'why') as word \gset
select is((currant.status(:'id')).status, 'blocked', 'nor is one that does not serve the queue');
select currant.enqueue('g', '{}', '{"queue": "shared"}') as id \gset
select currant.register_worker('{"queues": ["shared"], "functions": [{"name": "g"}]}') as able \gset
select token from currant.claim(:'old', '{shared}', 1) \gset
select currant.release(:'old', :'id', :token, 'a worker that knows g') as word \gset
select is((currant.status(:'id')).due_at, currant._now() + '100 milliseconds', 'tasks are left to others likewise');

select * from finish();
rollback;

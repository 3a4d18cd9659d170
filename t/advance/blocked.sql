-- A workflow that its code cannot run is blocked: kept, shown, tried again, and in nobody's way.

begin;

\ir ../lib/helpers.psql

select plan(24);

select test.stop_clock('2030-01-01 00:00:00+00');
select test.worker('blocked') as worker \gset
select currant.enqueue('w', '{}', '{"queue": "blocked", "kind": "workflow"}') as id \gset
select test.activate(:'worker', :'id') as word \gset
select currant.signal(:'id', 'first') as arrival \gset
select test.pass('10 seconds');
select token from currant.claim(:'worker', '{blocked}', 0, 1) \gset

select is(
    currant.advance(:'worker', :'id', :token, 1, array[:arrival], '[]', '{"blocked": "expected task a, got task b"}'),
    'accepted', 'an activation may say that it cannot go on'
);
select is(
    currant.advance(:'worker', :'id', :token, 1, array[:arrival], '[]', '{"blocked": "expected task a, got task b"}'),
    'already', 'a repeated call is told so'
);
select is((currant.status(:'id')).status, 'blocked', 'the workflow is blocked');
select is((currant.status(:'id')).waits_for, 'blocked: expected task a, got task b', 'its status says why');
select is((select count(*) from currant.history(:'id')), 1::bigint, 'its history stays as it was');
select is((select count(*) from currant.inbox where workflow_id = :'id'), 1::bigint, 'and its inbox');

select ok(currant.signal(:'id', 'second') is not null, 'it can be signalled');
select is_empty(
    format($$ select * from currant.claim(%L, '{blocked}', 0, 5) $$, :'worker'), 'which does not make it run'
);
select ok(
    (currant.status(:'id')).due_at - currant._now() between '1 second' and '5 minutes',
    'it is tried again after a while'
);
select test.pass('5 minutes');
select (currant.tick('due')).done \gset
select token from currant.claim(:'worker', '{blocked}', 0, 1) \gset
select is(
    (select jsonb_path_query_array(inbox, '$[*].name') from currant.resume(:'worker')), '["first", "second"]',
    'with all that has arrived'
);
select is(
    currant.advance(:'worker', :'id', :token, 1, '{}', '[]', '{"blocked": "still the wrong code"}'), 'accepted',
    'it may block again'
);
select is((currant.status(:'id')).waits_for, 'blocked: still the wrong code', 'for another reason');
select test.worker('elsewhere') as elsewhere \gset
select is_empty(
    format($$ select * from currant.claim(%L, '{blocked}', 0, 5) $$, :'worker'),
    'a worker that knows nothing of it changes nothing'
);
select currant.register_worker('{"queues": ["blocked"],
    "functions": [{"name": "w", "kind": "workflow", "queue": "blocked"}]}') as next \gset
select is(
    test.activate(:'next', :'id'), 'accepted', 'a new worker that has its function gets it at once'
);
select is((currant.status(:'id')).status, 'suspended', 'when it has gone on it is not blocked any more');
select is((select count(*) from currant.history(:'id')), 3::bigint, 'and has applied what had arrived');
select test.pass('1 hour');
select is((currant.tick('due')).done, 0, 'nothing is left of having been blocked');

select currant.enqueue('w', '{}', '{"queue": "blocked", "kind": "workflow"}') as fresh \gset
select is(
    test.activate(:'next', :'fresh', '[]', '{"blocked": "unknown function w"}'), 'accepted',
    'a workflow may be blocked before it has begun'
);
select is((select count(*) from currant.history(:'fresh')), 0::bigint, 'then it has not begun');
select currant.enqueue('w', '{}', '{"queue": "blocked", "kind": "workflow"}') as other \gset
select is(test.activate(:'next', :'other'), 'accepted', 'other workflows go on');

-- How long it waits does not depend on how long it was parked before.
select currant.enqueue('w', '{}', '{"queue": "blocked_late", "kind": "workflow"}') as late \gset
create function test.block(worker uuid, workflow uuid) returns interval language plpgsql as $$
begin
    perform test.activate(worker, workflow, '[]', '{"blocked": "other code"}');
    return (currant.status(workflow)).due_at - currant._now();
end
$$;
select test.worker('blocked_late') as worker \gset
select test.activate(:'worker', :'late') as word \gset
select test.pass('1 day');
select currant.signal(:'late', 's') as arrival \gset
select is(test.block(:'worker', :'late'), interval '1 second', 'blocked after a day it is tried again soon');
select test.pass('10 seconds');
select currant.tick('due') as ticked \gset
select is(test.block(:'worker', :'late'), interval '5 seconds', 'then after half of the time that it has been blocked');
select test.pass('1 hour');
select currant.tick('due') as ticked \gset
select is(test.block(:'worker', :'late'), interval '5 minutes', 'and at least every five minutes');
select test.pass('5 minutes');
select currant.tick('due') as ticked \gset
select test.activate(:'worker', :'late') as word \gset
select test.pass('1 hour');
select currant.signal(:'late', 's') as arrival \gset
select is(test.block(:'worker', :'late'), interval '1 second', 'once it has advanced, it begins anew');

select * from finish();
rollback;

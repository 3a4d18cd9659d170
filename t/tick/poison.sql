-- tick: activations that are lost with their workers.

begin;

\ir ../lib/helpers.psql

select plan(27);

select test.stop_clock('2030-01-01 00:00:00+00');
update currant.configuration set max_lost_activations = 3;
select currant.enqueue('w', '{}', '{"queue": "poison", "kind": "workflow"}') as id \gset
create function test.lose() returns integer language plpgsql as $$
begin
    perform currant.claim(test.worker('poison'), '{poison}', 0, 1);
    perform test.pass('31 seconds');
    perform test.keep_steady();
    return (currant.tick('recover')).done;
end
$$;

select is(test.lose(), 1, 'an activation is lost with its worker');
select is((currant.status(:'id')).status, 'pending', 'a workflow that had not begun is pending again');
select is((currant.status(:'id')).attempt, 1, 'this is no attempt of it');
select is((currant.status(:'id')).attempts -> 0 -> 'error' ->> 'type', 'WorkerLost', 'but is listed');
select is(test.lose(), 1, 'a second one is lost');
select test.worker('poison') as worker \gset
select is(test.activate(:'worker', :'id'), 'accepted', 'a third goes well');
select is(
    (select lost_activations from currant.workflows where execution_id = :'id'), 0,
    'which makes up for the others'
);

select currant.signal(:'id', 's') as arrival \gset
select is(array[test.lose(), test.lose()], '{1,1}', 'two more are lost');
select is((currant.status(:'id')).status, 'suspended', 'the workflow is still to be woken');
select is(test.lose(), 1, 'with the third in a row');
select is((currant.status(:'id')).status, 'blocked', 'it is blocked');
select matches((currant.status(:'id')).waits_for, 'blocked: 3 activations in a row were lost', 'and says why');
select is(
    (select count(*) from currant.claim(test.worker('poison'), '{poison}', 0, 1)), 0::bigint,
    'it kills no more workers for now'
);
select is((select count(*) from currant.history(:'id')), 1::bigint, 'nothing of it is lost');
select test.pass('10 minutes');
select (currant.tick('due')).done \gset
select test.worker('poison') as worker \gset
select is(
    (select inbox -> 0 ->> 'name' from currant.claim(:'worker', '{poison}', 0, 1)), 's', 'later it is tried again'
);
select is(
    (select currant.advance(:'worker', :'id', token, last_event, array[:arrival], '[]') from currant.resume(:'worker')),
    'accepted', 'and may go on'
);

-- An activation whose worker lives, but that does not end.
select currant.signal(:'id', 's') as arrival \gset
select token from currant.claim(:'worker', '{poison}', 0, 1) \gset
select test.pass('70 seconds');
select test.keep_steady();
select currant.heartbeat(:'worker', '{}', '{}') as answer;
select is((currant.tick('recover')).done, 1, 'an activation that takes more than a minute is taken away');
select is(currant.advance(:'worker', :'id', :token, 2, array[:arrival], '[]'), 'lost', 'its commit is refused');
select is(
    (select inbox -> 0 ->> 'name' from currant.claim(:'worker', '{poison}', 0, 1)), 's',
    'another one begins from the same place'
);

-- What has lost its worker is run apart from others.
create function test.flow(lost integer, priority integer default 0) returns uuid language plpgsql as $$
declare
    _id uuid := currant.enqueue('w', '{}', jsonb_build_object('queue', 'apart', 'kind', 'workflow', 'priority', priority));
begin
    update currant.workflows set lost_activations = lost where execution_id = _id;
    return _id;
end
$$;
create function test.claimed(worker uuid, at_most integer default 10) returns uuid[] language sql as $$
    select coalesce(array_agg(c.execution_id order by c.seq), '{}') from currant.claim(worker, '{apart,other}', 0, at_most) as c
$$;
select test.worker('apart', 'other') as worker \gset
select test.flow(1) as one \gset
select test.flow(0) as two \gset
select test.flow(2) as three \gset
select test.flow(0) as four \gset
select currant.enqueue('w', '{}', '{"queue": "other", "kind": "workflow"}') as other \gset
select array_agg(seq order by seq) as places from currant.ready where queue = 'apart' \gset
select is(test.claimed(:'worker'), array[:'one']::uuid[], 'one that has lost its worker and comes first is claimed alone');
select is(
    (select array_agg(seq order by seq) from currant.ready where queue = 'apart'), (:'places'::bigint[])[2:],
    'the others keep their places'
);
select is(
    test.claimed(:'worker'), array[:'two', :'four', :'other']::uuid[], 'then others come, without the next of its kind'
);
select is(test.claimed(:'worker'), '{}', 'which is left for later');
select test.pass('50 milliseconds');
select currant.tick('due') as ticked \gset
select is(test.claimed(:'worker'), array[:'three']::uuid[], 'and comes alone, too');
select test.flow(3) as five \gset
select test.flow(0) as six \gset
select test.flow(0, 1) as seven \gset
select is(test.claimed(:'worker', 1), array[:'seven']::uuid[], 'by priority, as always');
select is(test.claimed(:'worker', 1), array[:'five']::uuid[], 'one slot is enough');
select is(test.claimed(:'worker', 1), array[:'six']::uuid[], 'nobody is left out');

select * from finish();
rollback;

-- tick: what has become due.

begin;

\ir ../lib/helpers.psql

select plan(20);

select test.stop_clock('2030-01-01 00:00:00+00');
select test.worker('due') as worker \gset

select results_eq(
    'select done, more, next_due_in from currant.tick()', $$ values (0, false, null::interval) $$,
    'nothing is due, nor will be'
);
select count(*) from currant.enqueue_many('f', array_fill('{}'::jsonb, array[3]), '{"queue": "due", "delay": 10}') \gset
select currant.enqueue('f', '{}', '{"queue": "due", "delay": 25}') as later \gset
select is((currant.tick('due')).next_due_in, '10 seconds', 'it says how long until the next thing is due');
select test.pass('10 seconds');
select results_eq(
    $$ select done, more, next_due_in from currant.tick('due') $$, $$ values (3, false, interval '15 seconds') $$,
    'what is due is made ready, all of it'
);
select is((currant.tick('due')).done, 0, 'once');
select is((select count(*) from currant.claim(:'worker', '{due}', 10)), 3::bigint, 'and can be claimed');
select test.pass('1 hour');
select is((currant.tick('due')).done, 1, 'what was due long ago is found');
select is((currant.tick('recover')).done, 0, 'the other duty leaves it alone');

-- In rounds.
select count(*) from currant.enqueue_many(
    'f', array_fill('{}'::jsonb, array[1200]), '{"queue": "due_many", "delay": 1}'
) \gset
select test.pass('5 seconds');
select results_eq(
    $$ select done, more from currant.tick('due') $$, $$ values (500, true) $$,
    'a round is bounded, and says that there is more'
);
select is((currant.tick('due')).more, true, 'the next as well');
select results_eq(
    $$ select done, more from currant.tick('due') $$, $$ values (200, false) $$, 'until there is not'
);

-- Late: due before what the last round looked at, committed after it.
select test.pass('5 seconds');
select (currant.tick('due')).done \gset
insert into currant.delayed (execution_id, kind, due_at)
select currant.enqueue('f', '{}', '{"queue": "late", "delay": 3600}'), 'release', currant._now() - interval '1 minute';
select test.pass('1 second');
select (currant.tick('due')).done as first \gset
select test.pass('5 seconds');
select is(:first + (currant.tick('due')).done, 1, 'what appears late in the past is found within seconds');

-- The clock goes back (a failover).
select currant.enqueue('f', '{}', '{"queue": "due_back", "delay": 1}') as back \gset
select test.pass('-1 hour');
select currant.enqueue('f', '{}', '{"queue": "due_back", "delay": 1}') as back \gset
select test.pass('1 second');
select is((currant.tick('due')).done, 1, 'when the clock has gone back, what is due is found by the new time');

-- Timers.
select currant.enqueue('w', '{}', '{"queue": "due_timers", "kind": "workflow"}') as id \gset
select test.activate(:'worker', :'id', jsonb_build_array(
    test.command(1, 'timer', null, '{"seconds": 2}'), test.command(2, 'timer', null, '{"seconds": 1}'),
    test.command(3, 'timer', null, '{"seconds": 0}'), test.command(4, 'timer', null, '{"seconds": 500}')
)) as word \gset
select test.pass('2 seconds');
select is((currant.tick('due')).done, 3, 'three timers are due');
select is((select count(*) from currant.ready where execution_id = :'id'), 1::bigint, 'their workflow is woken once');
select is(
    (select jsonb_path_query_array(inbox, '$[*].number') from currant.claim(:'worker', '{due_timers}', 0, 1)),
    '[3, 2, 1]',
    'they fire in the order of their times'
);
select is(
    (
        select currant.advance(
            :'worker', :'id', token, 1, array(select (value ->> 'arrival')::bigint from jsonb_array_elements(inbox)),
            jsonb_build_array(test.command(null, 'complete', null, null, 4))
        ) from currant.resume(:'worker') where kind = 'workflow'
    ), 'accepted', 'the workflow may end'
);
select test.pass('10 minutes');
select (currant.tick('due')).done \gset
select is(
    (select count(*) from currant.inbox where workflow_id = :'id'), 0::bigint,
    'a timer it had left fires for nobody'
);

-- A timer that was over before its activation was.
select currant.enqueue('w', '{}', '{"queue": "due_timers", "kind": "workflow"}') as slow \gset
select token from currant.claim(:'worker', '{due_timers}', 0, 1) \gset
select test.pass('10 seconds');
select (currant.tick('due')).done \gset
select currant.advance(
    :'worker', :'slow', :token, 0, '{}', jsonb_build_array(test.command(1, 'timer', null, '{"seconds": 1}'))
) as word \gset
select is((currant.tick('due')).done, 1, 'a timer shorter than the activation that asked for it fires at once');

select throws_ok($$ select currant.tick('dust') $$, '22023', null, 'other duties are not known');
select lives_ok($$ select currant.tick(null) $$, 'null means all of them');

select * from finish();
rollback;

-- claim: marks (where to begin in the index) and wait (who wants to be notified) are only hints.

begin;

\ir ../lib/helpers.psql

select plan(20);

select test.stop_clock('2030-01-01 00:00:00+00');
select test.worker('hints') as worker \gset
select currant.enqueue_many('f', array['{"n": 1}', '{"n": 2}', '{"n": 3}', '{"n": 4}']::jsonb[], '{"queue": "hints"}');
create temporary table places as
select (e.args ->> 'n')::integer as n, r.rank, r.seq
from currant.ready as r
join currant.executions as e on e.id = r.execution_id
where r.queue = 'hints';
create function test.marks(n integer) returns jsonb language sql as $$
    select jsonb_build_object('marks', jsonb_build_object('hints', jsonb_build_object(
        't', jsonb_build_array(jsonb_build_array(p.rank, p.seq))
    ))) from places as p where p.n = marks.n
$$;

select results_eq(
    format($$ select args ->> 'n' from currant.claim(%L, '{hints}', 1, 0, test.marks(3)) $$, :'worker'), array['3'],
    'a claim begins at the mark'
);
select results_eq(
    format($$ select (rank, seq) from currant.claim(%L, '{hints}', 1, 0, test.marks(3)) $$, :'worker'),
    $$ select (rank, seq) from places where n = 4 $$, 'what is claimed says where it stood'
);
select is_empty(
    format($$ select args ->> 'n' from currant.claim(%L, '{hints}', 5, 0, test.marks(3)) $$, :'worker'),
    'what stands before the mark is not looked at'
);
select currant.enqueue('f', '{"n": 5}', '{"queue": "hints", "priority": 1}') as urgent \gset
select currant.enqueue('f', '{"n": 6}', '{"queue": "hints", "priority": -1}') as slow \gset
select results_eq(
    format($$ select args ->> 'n' from currant.claim(%L, '{hints}', 5, 0, test.marks(3)) $$, :'worker'),
    array['5', '6'],
    'other priorities are found whatever the mark says'
);
select results_eq(
    format($$ select args ->> 'n' from currant.claim(%L, '{hints}', 5) $$, :'worker'), array['1', '2'],
    'a claim without hints finds all the rest'
);
select lives_ok(
    format($$ select currant.claim(%L, '{hints}', 5, 0, %L) $$, :'worker', h.hints), format('harmless: %s', h.hints)
)
from (values
    ('{}'), ('{"marks": {}}'), ('{"marks": {"hints": null}}'), ('{"marks": {"hints": {"t": []}}}'), ('{"other": 1}')
) as h (hints);

create function test.waiting(worker uuid) returns timestamptz language sql as $$
    select w.waiting_until from currant.workers as w where w.id = waiting.worker
$$;
select is(test.waiting(:'worker'), null, 'nobody waits who has not said so');
select is_empty(
    format($$ select * from currant.claim(%L, '{hints}', 5, 0, '{"wait": 5}') $$, :'worker'), 'who finds nothing'
);
select is(test.waiting(:'worker'), '2030-01-01 00:00:05+00', 'may declare that it waits');
select test.pass('2 seconds');
select count(*) from currant.claim(:'worker', '{hints}', 5, 0, '{"wait": 5}') \gset
select is(test.waiting(:'worker'), '2030-01-01 00:00:05+00', 'saying so again soon writes nothing');
select test.pass('1 second');
select count(*) from currant.claim(:'worker', '{hints}', 5, 0, '{"wait": 5}') \gset
select is(test.waiting(:'worker'), '2030-01-01 00:00:08+00', 'but half the time later it does');
select lives_ok(
    $$ select currant.enqueue('f', '{}', '{"queue": "hints", "id": "00000000-0000-7000-8000-0000000000a8"}') $$,
    'work that comes meanwhile is announced'
);
select lives_ok(
    $$ select currant.enqueue('f', '{}', '{"queue": "hints", "id": "00000000-0000-7000-8000-0000000000a9", "delay": 1}') $$,
    'and work that will be due before it looks again'
);
select currant.cancel(('00000000-0000-7000-8000-0000000000' || n)::uuid) as word from (values ('a8'), ('a9')) as v (n);
select is_empty(
    format($$ select * from currant.claim(%L, '{hints}', 5) $$, :'worker'), 'the next claim without the hint'
);
select is(test.waiting(:'worker'), null, 'withdraws it');

select currant.enqueue('f', '{"n": 7}', '{"queue": "hints"}') as seven \gset
select count(*) from currant.claim(:'worker', '{hints}', 5, 0, '{"wait": 5}') \gset
select is(test.waiting(:'worker'), null, 'who gets work does not wait');

select * from finish();
rollback;

-- claim: priority, first come first served, what continues a workflow before new work.

begin;

\ir ../lib/helpers.psql

select plan(12);

select test.worker('order') as worker \gset
select currant.enqueue('f', '{"n": 1}', '{"queue": "order"}') as a \gset
select currant.enqueue('f', '{"n": 2}', '{"queue": "order"}') as b \gset
select currant.enqueue('f', '{"n": 3}', '{"queue": "order", "priority": 5}') as c \gset
select currant.enqueue('f', '{"n": 4}', '{"queue": "order", "priority": -5}') as d \gset
select currant.enqueue('f', '{"n": 5}', '{"queue": "order", "priority": 5}') as e \gset

select results_eq(
    format($$ select args ->> 'n' from currant.claim(%L, '{order}', 4) $$, :'worker'), array['3', '5', '1', '2'],
    'a higher priority goes first; within a priority whoever came first'
);
select results_eq(
    format($$ select args ->> 'n' from currant.claim(%L, '{order}', 4) $$, :'worker'), array['4'],
    'the lowest priority is last'
);

-- A workflow that has begun, with a task of its own queued after other people's work.
select currant.enqueue('w', '{}', '{"queue": "order", "kind": "workflow"}') as workflow \gset
select currant.enqueue('f', '{"n": 6}', '{"queue": "order"}') as f \gset
select test.activate(:'worker', :'workflow', test.command(1, 'task', 'f', jsonb_build_object(
    'id', '00000000-0000-7000-8000-0000000000a1', 'args', '{"n": 7}'::jsonb, 'options', '{"queue": "order"}'::jsonb
))) as word \gset
select currant.enqueue('f', '{"n": 8}', '{"queue": "order", "priority": 1}') as h \gset
select results_eq(
    format($$ select args ->> 'n' from currant.claim(%L, '{order}', 4) $$, :'worker'), array['8', '7', '6'],
    'a task of a workflow that has begun goes before new work, but not before a higher priority'
);

select currant.enqueue('w', '{}', '{"queue": "order", "kind": "workflow"}') as fresh \gset
select currant.signal(:'workflow', 'go') as arrival \gset
select results_eq(
    format($$ select execution_id from currant.claim(%L, '{order}', 0, 10) $$, :'worker'),
    array[:'workflow', :'fresh']::uuid[], 'a workflow that has begun goes before one that has not'
);

select currant.enqueue('f', '{"n": 9}', '{"queue": "order"}') as i \gset
select currant.enqueue('f', '{"n": 10}', '{"queue": "order"}') as j \gset
select execution_id as taken, token from currant.claim(:'worker', '{order}', 1) \gset
select is(currant.release(:'worker', :'taken', :token), 'accepted', 'what is given back');
select results_eq(
    format($$ select args ->> 'n' from currant.claim(%L, '{order}', 4) $$, :'worker'), array['10', '9'],
    'queues up again behind the others'
);

select currant.enqueue('f', '{"n": 11}', '{"queue": "order", "priority": 3}') as k \gset
select token from currant.claim(:'worker', '{order}', 1) \gset
select currant.fail(:'worker', :'k', :token, '{"type": "E"}', '0') as word \gset
select currant.enqueue('f', '{"n": 12}', '{"queue": "order", "priority": 2}') as l \gset
select results_eq(
    format($$ select args ->> 'n' from currant.claim(%L, '{order}', 4) $$, :'worker'), array['11', '12'],
    'another attempt keeps its priority'
);

select is_empty(
    format($$ select * from currant.claim(%L, '{order}', 4) $$, :'worker'), 'nobody gets what another has'
);

-- Many queues, of which a few have work.
\set queues '{many_7,many_6,many_5,many_4,many_3,a,b,c,d,e,f,g,h,i,j,k,l,m}'
select currant.enqueue('f', '{"n": 13}', '{"queue": "many_3"}') as m \gset
select currant.enqueue('f', '{"n": 14}', '{"queue": "many_7"}') as n \gset
select currant.enqueue('w', '{}', '{"queue": "many_5", "kind": "workflow"}') as o \gset
select results_eq(
    format($$ select args ->> 'n' from currant.claim(%L, %L, 4) $$, :'worker', :'queues'),
    array['14', '13'], 'many queues are served in the order given'
);
select results_eq(
    format($$ select execution_id from currant.claim(%L, %L, 4, 4) $$, :'worker', :'queues'),
    array[:'o'::uuid], 'with their workflows'
);

-- Two workflows that have not begun, one with a priority, and one that has and is woken.
select currant.enqueue_many('w', array['{}', '{}']::jsonb[], '{"queue": "fresh", "kind": "workflow"}');
select currant.enqueue('w', '{}', '{"queue": "fresh", "kind": "workflow", "priority": 1}') as prior \gset
select currant.enqueue('w', '{}', '{"queue": "fresh", "kind": "workflow", "priority": 2}') as begun \gset
select execution_id as taken, token from currant.claim(:'worker', '{fresh}', 0, 1) \gset
select currant.advance(:'worker', :'taken', :token, 0, '{}', '[]', '{"started": {}}') as word \gset
select currant.signal(:'begun', 'go') as arrival \gset
select results_eq(
    format($$ select execution_id from currant.claim(%L, '{fresh}', 0, 10, '{"fresh": 0}') $$, :'worker'),
    array[:'begun', :'prior']::uuid[],
    'without room for new workflows only those come that have begun, and those of a priority'
);
select results_eq(
    format($$ select count(*) from currant.claim(%L, '{fresh}', 0, 10, '{"fresh": 1}') $$, :'worker'),
    array[1::bigint], 'with room for one there comes one'
);

select * from finish();
rollback;

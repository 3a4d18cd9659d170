-- claim: of many queues those that have something are found, however many others there are.

begin;

\ir ../lib/helpers.psql

select plan(5);

select test.stop_clock('2030-01-01 00:00:00+00');
create temporary table queues as select array(select 'many_' || n from generate_series(1, 500) as q (n) order by n) as names;
select test.worker(variadic (select names from queues)) as worker \gset
create function test.from_queues(worker uuid, names text[], tasks integer, workflows integer)
returns setof text language sql as $$
    select c.queue from currant.claim(from_queues.worker, from_queues.names, tasks, workflows) as c
$$;

select is_empty(
    format($$ select test.from_queues(%L, names, 5, 5) from queues $$, :'worker'), 'where none has anything'
);
select currant.enqueue('f', '{}', jsonb_build_object('queue', 'many_' || n))
from unnest(array[300, 7, 299]) as q (n) \g /dev/null
select currant.enqueue('w', '{}', '{"queue": "many_450", "kind": "workflow"}') as workflow \gset
select currant.enqueue('f', '{}', '{"queue": "many_others"}') as other \gset
select results_eq(
    format($$ select test.from_queues(%L, array['many_300'] || names, 5, 5) from queues $$, :'worker'),
    array['many_300', 'many_7', 'many_299', 'many_450'], 'those that have are served in the order given'
);

-- More of them than are looked for one by one.
select currant.enqueue('f', '{}', jsonb_build_object('queue', 'many_' || n))
from generate_series(1, 200) as q (n) \g /dev/null
select results_eq(
    format($$ select test.from_queues(%L, names, 3, 0) from queues $$, :'worker'), array['many_1', 'many_2', 'many_3'],
    'also where many have'
);
select is(
    (select count(*) from queues, lateral test.from_queues(:'worker', names, 1000, 10)), 197::bigint,
    'and all of it is found'
);
select is((currant.status(:'other')).status, 'pending', 'nobody else''s');

select * from finish();
rollback;

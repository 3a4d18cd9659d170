-- enqueue_many: order, ids, keys, all or nothing.

begin;

\ir lib/helpers.psql

select plan(20);

select test.worker('many') as worker \gset

create temporary table made as
select e.id, row_number() over () as n
from currant.enqueue_many(
    'f', array['{"n": 1}', '{"n": 2}', '[3]']::jsonb[], '{"queue": "many", "priority": 4}'
) as e (id);

select results_eq(
    'select (currant.status(id)).args from made order by n', array['{"n": 1}', '{"n": 2}', '[3]']::jsonb[],
    'the ids come back in the order of the arguments'
);
select results_eq(
    'select distinct (currant.status(id)).priority from made', array[4], 'the options hold for all of them'
);
select results_eq(
    format($$ select args from currant.claim(%L, '{many}', 10) $$, :'worker'),
    array['{"n": 1}', '{"n": 2}', '[3]']::jsonb[], 'they are claimed in that order, too'
);

prepare given as select currant.enqueue_many(
    'f', array['{}', '{}']::jsonb[], '{"queue": "many"}',
    array['00000000-0000-7000-8000-0000000000b1', '00000000-0000-7000-8000-0000000000b2']::uuid[]
);
select results_eq(
    'given',
    array['00000000-0000-7000-8000-0000000000b1', '00000000-0000-7000-8000-0000000000b2']::uuid[],
    'the caller may give the ids'
);
select results_eq(
    'given',
    array['00000000-0000-7000-8000-0000000000b1', '00000000-0000-7000-8000-0000000000b2']::uuid[],
    'a repeated call with the same ids returns them again'
);
select is((select ready from currant.queue_stats where queue = 'many'), 2::bigint, 'and queues nothing twice');
select is(
    (
        select count(*) from currant.enqueue_many(
            'f', array['{}', '{}']::jsonb[], '{"queue": "many"}',
            array['00000000-0000-7000-8000-0000000000b2', '00000000-0000-7000-8000-0000000000b3']::uuid[]
        )
    ), 2::bigint, 'what is there already does not hinder the rest'
);
select is((select ready from currant.queue_stats where queue = 'many'), 3::bigint, 'of which each is queued');

create temporary table keyed as
select e.id, row_number() over () as n
from currant.enqueue_many(
    'f', array['{"n": 1}', '{"n": 2}', '{"n": 3}', '{"n": 4}']::jsonb[],
    '{"queue": "many", "keys": ["b", "a", null, "b"]}'
) as e (id);
select is((select count(distinct id) from keyed), 3::bigint, 'two of the same key are one execution');
select is(
    (select id from keyed where n = 1), (select id from keyed where n = 4), 'the id that counts is returned for both'
);
select is(
    (currant.status((select id from keyed where n = 4))).args, '{"n": 1}',
    'the first of the batch is the one that counts'
);
select is(
    currant.enqueue('f', '{}', '{"queue": "many", "key": "a"}'), (select id from keyed where n = 2),
    'the keys are those of enqueue'
);
select is((currant.status((select id from keyed where n = 3))).key, null, 'null means no key');

select throws_ok(
    $$ select currant.enqueue_many('f', array['{}', '5']::jsonb[], '{"queue": "many"}') $$, '22023', null,
    'one wrong element is enough to refuse the call'
);
select throws_ok(
    $$ select currant.enqueue_many('f', null, '{"queue": "many"}') $$, '22004', null, 'args is not null'
);
select throws_ok(
    $$ select currant.enqueue_many('f', array['{}']::jsonb[], '{"queue": "many"}', '{}') $$, '22023', null,
    'there are as many ids as args'
);
select throws_ok(
    $$ select currant.enqueue_many('f', array['{}']::jsonb[], '{"queue": "many", "keys": []}') $$, '22023', null,
    'there are as many keys as args'
);
select throws_ok(
    $$ select currant.enqueue_many('f', array['{}']::jsonb[], '{"queue": "many", "keys": [""]}') $$, '22023', null,
    'a key is not empty'
);
select throws_ok(
    $$ select currant.enqueue_many('f', array['{}']::jsonb[], '{"queue": "many", "key": "a"}') $$, '22023', null,
    'the option key is for one execution'
);
select is_empty(
    $$ select currant.enqueue_many('f', '{}', '{"queue": "many"}') $$, 'of nothing comes nothing'
);

select * from finish();
rollback;

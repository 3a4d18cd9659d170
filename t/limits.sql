-- What one caller may cost all the others is bounded.

begin;

\ir lib/helpers.psql

select plan(19);

select test.stop_clock('2030-01-01 00:00:00+00');
select test.worker('limits') as worker \gset
select currant.register_functions('[{"name": "f", "queue": "limits"}]') as n \gset
select currant.enqueue('w', '{}', '{"queue": "limits", "kind": "workflow"}') as id \gset
select is(test.activate(:'worker', :'id'), 'accepted', 'a workflow begins');

-- An inbox of 20 MB comes in parts.
create temp table sent as
select currant.signal(:'id', 'large', to_jsonb(repeat('x', 1000000))) as arrival from generate_series(1, 20);
create temp table first_part as
select c.token, c.last_event, c.inbox from currant.claim(:'worker', '{limits}', 0, 1) as c;
select is((select jsonb_array_length(inbox) from first_part), 16, 'a claim returns 16 MiB of an inbox');
select is(
    (
        select currant.advance(
            :'worker', :'id', token, last_event,
            array(
                select (i.value ->> 'arrival')::bigint
                from jsonb_array_elements(inbox) with ordinality as i (value, n)
                order by i.n
            ),
            '[]'
        )
        from first_part
    ),
    'accepted', 'the part is applied'
);
select is(
    (select jsonb_array_length(c.inbox) from currant.claim(:'worker', '{limits}', 0, 1) as c), 4,
    'and the rest comes with the next claim'
);

-- Locks.
select is(
    (
        select count(*) from currant.enqueue_many(
            'f', array(select '{}'::jsonb from generate_series(1, 5000)),
            jsonb_build_object('keys', (select jsonb_agg('key ' || n) from generate_series(1, 5000) as g (n)))
        )
    ),
    5000::bigint, 'many keys at once are fine'
);
select cmp_ok(
    (select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()), '<', 1100::bigint,
    'they do not take a lock each'
);

-- Everything that is stored has a size.
select throws_ok(
    $$ select currant.enqueue('f', '{}', jsonb_build_object('headers', jsonb_build_object('h', repeat('x', 2000000)))) $$,
    'KR005', null, 'large headers are refused'
);
select throws_ok(
    format($$ select currant.cancel(%L, repeat('x', 2000000)) $$, :'id'), 'KR005', null, 'a large reason too'
);
select lives_ok(
    $$ update currant.configuration set max_payload_bytes = 3000000 $$, 'the limit can be raised'
);
select lives_ok(
    $$ select currant.enqueue('f', jsonb_build_object('x', repeat('x', 2000000))) $$, 'and then more is taken'
);

-- Times that no client could read.
select throws_ok(
    format($$ select currant.enqueue('f', '{}', jsonb_build_object('run_at', %L)) $$, v.run_at),
    '22023', null, format('run_at %s is refused', v.run_at)
)
from (values ('20000-01-01T00:00:00Z'), ('infinity'), ('tomorrow'), ('2030-01-01 08:00'), ('01/02/2030')) as v (run_at);

-- Commands of a version that this schema does not know.
select currant.enqueue('w', '{}', '{"queue": "limits_new", "kind": "workflow"}') as new \gset
create temp table newer as select c.token from currant.claim(:'worker', '{limits_new}', 0, 1) as c;
select throws_ok(
    format(
        $$ select currant.advance(%L, %L, token, 0, '{}', '[{"event": 1, "kind": "bogus", "number": 1}]') from newer $$,
        :'worker', :'new'
    ),
    '22023', null, 'an unknown kind of command is refused'
);
select throws_ok(
    format(
        $$ select currant.advance(%L, %L, token, 0, '{}', '[{"event": 1, "kind": "task", "number": 1, "name": "f"}]') from newer $$,
        :'worker', :'new'
    ),
    '22023', null, 'and a task without its id'
);

-- Registering what is there already writes nothing, so it waits for nobody.
create temp table before as select f.ctid::text as place from currant.functions as f where f.name = 'f';
select currant.register_functions('[{"name": "f", "queue": "limits"}]') as n \gset
select is(
    (select f.ctid::text from currant.functions as f where f.name = 'f'), (select b.place from before as b),
    'a declaration that is stored already is not written again'
);
select throws_ok(
    $$ select currant.register_functions('[{"name": "f", "timeout": 0}]') $$, '22023', null,
    'a declaration that could not be used is refused'
);

select * from finish();
rollback;

-- fail_many: the same for many, each with its own error and delay.

begin;

\ir lib/helpers.psql

select plan(8);

select test.stop_clock('2030-01-01 00:00:00+00');
select test.worker('fail_many') as worker \gset
select count(*) from currant.enqueue_many('f', array['{}', '{}', '{}', '{}']::jsonb[], '{"queue": "fail_many"}') \gset
create temporary table many (id uuid, token bigint, n bigint);
insert into many select execution_id, token, row_number() over () from currant.claim(:'worker', '{fail_many}', 4);
select currant.complete(:'worker', id, token, '1') as word from many where n = 2 \gset

create function test.ids(n bigint) returns uuid[] language sql as $$
    select array_agg(m.id order by m.n) from many as m where m.n <= ids.n
$$;
create function test.tokens(n bigint) returns bigint[] language sql as $$
    select array_agg(m.token order by m.n) from many as m where m.n <= tokens.n
$$;

select is(
    currant.fail_many(
        :'worker', test.ids(3), test.tokens(3),
        array['{"type": "A"}', '{"type": "B"}', '{"type": "C", "retryable": false}']::jsonb[],
        array['1 minute', null, '1 minute']::interval[]
    ),
    array['accepted', 'already', 'accepted'], 'there is one word for each, in order'
);
select is(
    (currant.status((test.ids(3))[1])).due_at, '2030-01-01 00:01:00+00', 'the first waits for as long as was said'
);
select is((currant.status((test.ids(3))[2])).status, 'completed', 'what had completed stays completed');
select is((currant.status((test.ids(3))[3])).error ->> 'type', 'C', 'what cannot be retried has failed');
select is(
    currant.fail_many(:'worker', test.ids(4), test.tokens(4), array_fill('{"type": "D"}'::jsonb, array[4])),
    array['already', 'already', 'already', 'accepted'], 'a repeated call fails only what is new'
);
select is(currant.fail_many(:'worker', '{}', '{}', '{}'), '{}', 'nothing to fail is no error');
select throws_ok(
    format($$ select currant.fail_many(%L, test.ids(2), test.tokens(2), array['{}']::jsonb[]) $$, :'worker'),
    '22023', null,
    'there are as many errors as executions'
);
select throws_ok(
    format(
        $$ select currant.fail_many(
            %L, test.ids(1), test.tokens(1), array['{}']::jsonb[], array['1', '2']::interval[]
        ) $$,
        :'worker'
    ), '22023', null, 'and as many delays, if there are any'
);

select * from finish();
rollback;

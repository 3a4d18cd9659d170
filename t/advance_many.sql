-- advance_many: several workflows in one transaction.

begin;

\ir lib/helpers.psql

select plan(7);

select test.worker('advance_many') as worker \gset
select count(*) from currant.enqueue_many(
    'w', array['{"n": 1}', '{"n": 2}', '{"n": 3}']::jsonb[], '{"queue": "advance_many", "kind": "workflow"}'
) \gset
create temporary table claimed as
select execution_id as id, token, (args ->> 'n')::integer as n
from currant.claim(:'worker', '{advance_many}', 0, 3);
create function test.activations() returns jsonb[] language sql as $$
    select array_agg(jsonb_build_object(
        'execution', c.id, 'token', c.token, 'last_event', 0, 'arrivals', '[]'::jsonb,
        'commands', jsonb_build_array(test.command(null, 'complete', null, jsonb_build_object('result', c.n))),
        'options', '{"started": {"python": "3.12"}}'::jsonb
    ) order by c.n) from claimed as c where c.n < 3
$$;

select is(
    currant.advance_many(:'worker', test.activations()), array['accepted', 'accepted'],
    'there is one word for each, in order'
);
select results_eq(
    'select currant.result(id) from claimed where n < 3 order by n', array['1', '2']::jsonb[], 'each has its own end'
);
select is(
    (select payload from currant.history((select id from claimed where n = 1)) limit 1), '{"python": "3.12"}',
    'the options are those of advance'
);
select is(
    currant.advance_many(
        :'worker', test.activations() || (
            select jsonb_build_object(
                'execution', id, 'token', token, 'last_event', 0, 'arrivals', '[]'::jsonb, 'commands',
                '[]'::jsonb
            )
            from claimed where n = 3
        )
    ),
    array['already', 'already', 'accepted'], 'a repeated call adds what is new'
);
select is(currant.advance_many(:'worker', '{}'), '{}', 'nothing to advance is no error');
select throws_ok(
    format($$ select currant.advance_many(%L, array['{}']::jsonb[]) $$, :'worker'), '22023', null,
    'each has to be complete'
);
select throws_ok(
    format($$ select currant.advance_many(%L, null) $$, :'worker'), '22004', null, 'activations are not null'
);

select * from finish();
rollback;

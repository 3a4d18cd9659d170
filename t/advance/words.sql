-- advance: the words, and that only accepted changes anything.

begin;

\ir ../lib/helpers.psql

select plan(27);

select test.stop_clock('2030-01-01 00:00:00+00');
select test.worker('words') as worker \gset
select test.worker('words') as other \gset
select currant.enqueue('w', '{}', '{"queue": "words", "kind": "workflow"}') as id \gset
select token from currant.claim(:'worker', '{words}', 0, 1) \gset
create function test.step(number integer, event integer) returns jsonb language sql as $$
    select jsonb_build_array(test.command(number, 'task', 'step', jsonb_build_object(
        'id', ('00000000-0000-7000-8000-00000000a00' || number)::uuid, 'options', '{"queue": "steps_of_words"}'::jsonb
    ), event))
$$;
create function test.steps() returns bigint language sql as $$
    select count(*) from currant.executions where queue = 'steps_of_words'
$$;

select is(
    currant.advance(:'other', :'id', :token, 0, '{}', test.step(1, 1)), 'lost', 'another worker has no say: lost'
);
select is(
    currant.advance(:'worker', :'id', :token + 1000, 0, '{}', test.step(1, 1)), 'lost', 'nor has another token: lost'
);
select is(test.steps(), 0::bigint, 'nothing has happened');
select is(currant.advance(:'worker', :'id', :token, 0, '{}', test.step(1, 1)), 'accepted', 'the holder has: accepted');
select is(test.steps(), 1::bigint, 'its task exists');
select is((select count(*) from currant.history(:'id')), 2::bigint, 'its history is written');
select is(
    currant.advance(:'worker', :'id', :token, 0, '{}', test.step(1, 1)), 'already', 'a repeated call: already'
);
select is(test.steps(), 1::bigint, 'which makes nothing twice');
select is((select count(*) from currant.history(:'id')), 2::bigint, 'and writes nothing twice');

-- Stale: computed from an event that is not the last.
select currant.signal(:'id', 's') as arrival \gset
select token from currant.claim(:'worker', '{words}', 0, 1) \gset
select is(currant.advance(:'worker', :'id', :token, 0, '{}', test.step(2, 1)), 'stale', 'from an old event: stale');
select is(test.steps(), 1::bigint, 'nothing is made of it');
select results_eq(
    format($$ select last_event, jsonb_array_length(inbox) from currant.claim(%L, '{words}', 0, 1) $$, :'worker'),
    $$ values (1, 1) $$, 'the workflow is there for another activation, with its inbox'
);
select is(
    (
        select currant.advance(:'worker', :'id', token, 1, array[:arrival], test.step(2, 2))
        from currant.resume(:'worker')
    ),
    'accepted', 'which may be accepted'
);

-- Refused: an end while something is unread.
select currant.signal(:'id', 's') as arrival \gset
select token from currant.claim(:'worker', '{words}', 0, 1) \gset
select currant.signal(:'id', 'unread') as unread \gset
select is(
    currant.advance(
        :'worker', :'id', :token, 2, array[:arrival],
        jsonb_build_array(test.command(null, 'complete', null, null, 3))
    ),
    'refused', 'an end with a signal unread: refused'
);
select is((currant.status(:'id')).status, 'suspended', 'it has not ended');
select is(
    (select jsonb_path_query_array(inbox, '$[*].name') from currant.claim(:'worker', '{words}', 0, 1)),
    '["s", "unread"]',
    'the next activation has all of it'
);
select is(
    (select currant.advance(:'worker', :'id', token, 2, array[:arrival], '[]') from currant.resume(:'worker')),
    'accepted',
    'what is no end is accepted with signals unread'
);
select is(
    (select jsonb_path_query_array(inbox, '$[*].name') from currant.claim(:'worker', '{words}', 0, 1)), '["unread"]',
    'and they wake it again'
);
select token from currant.resume(:'worker') \gset
select throws_ok(
    format($$ select currant.advance(%L, %L, %s, 3, array[%s, 0], '[]') $$, :'worker', :'id', :token, :unread),
    '22023', null,
    'an arrival that is not in the inbox is an error'
);
select throws_ok(
    format($$ select currant.advance(%L, %L, %s, 3, '{}', null) $$, :'worker', :'id', :token), '22023', null,
    'so are no commands'
);
select throws_ok(
    format($$ select currant.advance(%L, %L, %s, 3, null, '[]') $$, :'worker', :'id', :token), '22023', null,
    'or no arrivals'
);
select is(
    currant.advance(
        :'worker', :'id', :token, 3, array[:unread],
        jsonb_build_array(test.command(null, 'complete', null, '{"result": 7}', 4))
    ),
    'accepted', 'after an error nothing has happened, and the lease still holds'
);
select is(currant.result(:'id'), '7', 'the workflow has ended');
select is(
    currant.advance(
        :'worker', :'id', :token, 3, array[:unread],
        jsonb_build_array(test.command(null, 'complete', null, '{"result": 8}', 4))
    ),
    'already', 'a repeated end: already'
);
select is(currant.advance(:'worker', :'id', :token - 1, 2, '{}', '[]'), 'lost', 'anything else after the end: lost');
select is(currant.advance(:'worker', gen_random_uuid(), 1, 0, '{}', '[]'), 'lost', 'what does not exist: lost');
select throws_ok(
    format($$ select currant.advance(gen_random_uuid(), %L, %s, 0, '{}', '[]') $$, :'id', :token), 'KR002', null,
    'an unknown worker is an error'
);

select * from finish();
rollback;

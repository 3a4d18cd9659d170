-- Payloads of every kind are bounded by one setting.

begin;

\ir ../lib/helpers.psql

select plan(10);

update currant.configuration set max_payload_bytes = 1000;
create function test.big() returns jsonb language sql as $$ select jsonb_build_object('x', repeat('x', 1000)) $$;
select test.worker('payload') as worker \gset
select currant.enqueue('f', '{}', '{"queue": "payload"}') as task \gset
select token from currant.claim(:'worker', '{payload}', 1) \gset
select currant.enqueue('w', '{}', '{"queue": "payload", "kind": "workflow"}') as workflow \gset

select is((select max_payload_bytes from currant.settings()), 1000, 'the limit is a setting that everybody can read');
select throws_ok(
    $$ select currant.enqueue('f', test.big(), '{"queue": "payload"}') $$, 'KR005', null,
    'arguments that are too large are refused'
);
select throws_ok(
    $$ select currant.enqueue_many('f', array['{}', test.big()], '{"queue": "payload"}') $$, 'KR005', null,
    'and so are those of one among many'
);
select lives_ok(
    $$ select currant.enqueue('f', jsonb_build_object('x', repeat('x', 900)), '{"queue": "payload"}') $$,
    'arguments within the limit are not'
);
select throws_ok(
    format($$ select currant.signal(%L, 's', test.big()) $$, :'workflow'), 'KR005', null, 'so is a signal''s payload'
);
select throws_ok(
    format($$ select currant.complete(%L, %L, %s, test.big()) $$, :'worker', :'task', :token), 'KR005', null,
    'so is a result'
);
select throws_ok(
    format($$ select currant.fail(%L, %L, %s, test.big()) $$, :'worker', :'task', :token), 'KR005', null,
    'so is an error'
);
select throws_ok(
    format(
        $$ select currant.heartbeat(%L, array[%L]::uuid[], array[%s]::bigint[], array[test.big()]) $$,
        :'worker', :'task', :token
    ),
    'KR005', null, 'so are heartbeat details'
);
select throws_ok(
    format(
        $$ select test.activate(%L, %L, test.command(1, 'signal', 's', jsonb_build_object(
            'id', gen_random_uuid(), 'execution', %L, 'payload', test.big()
        ))) $$,
        :'worker', :'workflow', :'workflow'
    ),
    'KR005', null, 'so is what a workflow sends'
);
select is(
    currant.complete(:'worker', :'task', :token, '1'), 'accepted', 'a refused call has changed nothing'
);

select * from finish();
rollback;

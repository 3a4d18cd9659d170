-- Worker functions lock rows and read them again: they refuse isolation levels that would show them old ones.

begin isolation level repeatable read;

\ir lib/helpers.psql

select plan(18);

select throws_ok(c.statement, 'KR008', null, format('refused under repeatable read: %s', c.name))
from (values
    ('claim', $$ select currant.claim(gen_random_uuid(), '{isolation}', 1) $$),
    ('resume', $$ select currant.resume(gen_random_uuid()) $$),
    ('complete', $$ select currant.complete(gen_random_uuid(), gen_random_uuid(), 1, '1') $$),
    ('complete_many', $$ select currant.complete_many(gen_random_uuid(), '{}', '{}', '{}') $$),
    ('fail', $$ select currant.fail(gen_random_uuid(), gen_random_uuid(), 1, '{}') $$),
    ('fail_many', $$ select currant.fail_many(gen_random_uuid(), '{}', '{}', '{}') $$),
    ('release', $$ select currant.release(gen_random_uuid(), gen_random_uuid(), 1) $$),
    ('release_many', $$ select currant.release_many(gen_random_uuid(), '{}', '{}') $$),
    ('advance', $$ select currant.advance(gen_random_uuid(), gen_random_uuid(), 1, 0, '{}', '[]') $$),
    ('register_worker', $$ select currant.register_worker('{}') $$),
    ('deregister_worker', $$ select currant.deregister_worker(gen_random_uuid()) $$),
    ('cancel', $$ select currant.cancel(gen_random_uuid()) $$),
    ('tick', $$ select currant.tick() $$)
) as c (name, statement);

select lives_ok(
    $$ select currant.enqueue('f', '{}', '{"queue": "isolation", "id": "00000000-0000-7000-8000-0000000000d1"}') $$,
    'an application may enqueue from any transaction'
);
select lives_ok(
    $$ select currant.status('00000000-0000-7000-8000-0000000000d1') $$, 'and read'
);
select is(
    currant.enqueue('f', '{}', '{"queue": "isolation", "id": "00000000-0000-7000-8000-0000000000d1"}'),
    '00000000-0000-7000-8000-0000000000d1', 'and repeat'
);
select lives_ok(
    $$ select currant.enqueue_and_signal('w', '{}', 's', '1', '{"queue": "isolation", "kind": "workflow", "key": "k"}')
        from generate_series(1, 2) $$,
    'and signal'
);
select matches(
    test.error_of($$ select currant.tick() $$), 'use read committed', 'the hint says what to do'
);

select * from finish();
rollback;

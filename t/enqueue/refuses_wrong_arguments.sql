-- enqueue: every wrong argument is refused with SQLSTATE 22023, saying which, and what to do.

begin;

\ir ../lib/helpers.psql

select plan(52);

select throws_ok(
    format($$ select currant.enqueue('f', '{}', '{"queue": "refuses"}' || %L::jsonb) $$, c.options), '22023', null,
    format('refused: %s', c.options)
)
from (values
    ('{"prio": 1}'), ('{"keys": ["a"]}'), ('{"queue": 1}'), ('{"queue": ""}'), ('{"priority": "high"}'),
    ('{"priority": 1.5}'),
    ('{"priority": 1e9}'), ('{"retries": -1}'), ('{"retries": true}'), ('{"timeout": "soon"}'), ('{"timeout": -1}'),
    ('{"timeout": 0}'), ('{"timeout": []}'), ('{"timeout": 1e300}'), ('{"delay": "-1 hour"}'), ('{"delay": {}}'),
    ('{"run_at": "tomorrowish"}'), ('{"run_at": 5}'), ('{"run_at": "2030-02-30T00:00:00Z"}'),
    ('{"run_at": "infinity"}'), ('{"run_at": "-infinity"}'),
    ('{"run_at": "2030-01-01T00:00:00Z", "delay": 1}'), ('{"id": "7"}'), ('{"id": 7}'), ('{"key": ""}'),
    ('{"key": 5}'), ('{"key_scope": "never"}'), ('{"version": 0}'), ('{"version": "2"}'), ('{"headers": []}'),
    ('{"retry_backoff": 0.5}'), ('{"retry_delay": "x"}'), ('{"retry_max_delay": -1}'), ('{"kind": "job"}'),
    ('{"version": [1]}'), ('{"version": 1e400}'), ('{"retries": [2]}'), ('{"priority": []}'), ('{"queue": ["a"]}'),
    ('{"queue": []}'), (format('{"queue": "%s"}', repeat('q', 201))), ('{"kind": ["task"]}'),
    ('{"id": ["0197e0a0-0000-7000-8000-000000000001"]}'), ('{"id": "0197e0a0-0000-7000-8000-00000000000g"}'),
    ('{"id": "------------------------------------"}')
) as c (options);

select throws_ok(
    $$ select currant.enqueue('f', '{}', '[]') $$, '22023', null, 'options are an object'
);
select throws_ok(
    $$ select currant.enqueue('f', '5', '{"queue": "refuses"}') $$, '22023', null,
    'arguments are an object or an array'
);
select throws_ok(
    $$ select currant.enqueue('f', null, '{"queue": "refuses"}') $$, '22023', null, 'arguments are not null'
);
select throws_ok(
    $$ select currant.enqueue('', '{}', '{"queue": "refuses"}') $$, '22023', null, 'a function has a name'
);
select throws_ok(
    $$ select currant.enqueue('nobody_knows_it') $$, 'KR001', null,
    'a function that nobody has registered needs a queue'
);

select is(
    test.error_of($$ select currant.enqueue('f', '{}', '{"prio": 1}') $$),
    '22023 | prio is not an option of this call | known options: id, kind, queue, priority, delay, run_at, retries, '
    'timeout, key, key_scope, version, headers, retry_delay, retry_backoff, retry_max_delay',
    'the detail names the unknown option, the hint lists the known ones'
);
select lives_ok(
    $$ select currant.enqueue('f', '{}', '{"queue": "refuses", "retries": 1.0, "priority": 2.0, "version": 1.0,
        "timeout": null, "key": null, "id": null, "headers": null, "delay": null}') $$,
    'whole numbers may have a fraction of 0, and null means not given'
);

select * from finish();
rollback;

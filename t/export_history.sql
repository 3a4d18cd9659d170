-- export_history: one document from which a workflow can be replayed elsewhere.

begin;

\ir lib/helpers.psql

select plan(24);

select test.stop_clock('2030-01-01 00:00:00.25+00');
select test.worker('export') as worker \gset
create function test.start(n integer, kind text, id text, options jsonb default '{}') returns jsonb language sql as $$
    select test.command(
        n, kind, 'f', jsonb_build_object(
            'id', '00000000-0000-7000-8000-0000000d' || id, 'args', jsonb_build_object('n', n),
            'options', jsonb_build_object('queue', 'export ' || id) || options
        )
    )
$$;
create function test.at(events jsonb, n integer) returns jsonb language sql as $$
    select jsonb_agg(c.value || jsonb_build_object('event', n)) from jsonb_array_elements(events) as c (value)
$$;

select currant.enqueue(
    'w', '{"a": 1.50}', '{"queue": "export", "kind": "workflow", "version": 3, "headers": {"t": "x"},
        "id": "00000000-0000-7000-8000-0000000d0000"}'
) as id \gset
select is(
    currant.export_history(:'id') - 'hash_seed',
    jsonb_build_object(
        'format', 1, 'currant', currant.version(), 'entries', '[]'::jsonb, 'execution', jsonb_build_object(
            'id', :'id', 'function', 'w', 'version', 3, 'queue', 'export', 'args', '{"a": 1.50}'::jsonb,
            'headers', '{"t": "x"}'::jsonb, 'parent_id', null, 'root_id', :'id', 'status', 'pending',
            'created_at', '2030-01-01T00:00:00.250000+00:00', 'first_event', 1
        )
    ),
    'before it begins there are no entries'
);
select is(
    (currant.export_history(:'id') ->> 'hash_seed')::bigint, (select hash_seed from currant.settings()),
    'with the seed that sets of strings are ordered by'
);

-- One command of every kind, and something of each kind happens.
select currant.enqueue('f', '{}', '{"queue": "export other"}') as other \gset
select currant.enqueue('f', '{}', '{"queue": "export other"}') as failing \gset
select currant.enqueue('w', '{}', '{"queue": "export flow", "kind": "workflow", "key": "k"}') as flow \gset
select test.activate(:'worker', :'id', jsonb_build_array(
    test.start(1, 'task', '0001'),
    test.start(2, 'task', '0002', '{"retries": 0}'),
    test.start(3, 'child', '0003'),
    test.start(4, 'child', '0004', '{"on_parent_end": "abandon"}'),
    test.command(5, 'timer', null, '{"seconds": 1}'),
    test.command(6, 'attach', null, jsonb_build_object('execution', :'other'::uuid)),
    test.command(7, 'attach', null, jsonb_build_object('execution', :'failing'::uuid)),
    test.start(8, 'queue', '0008'),
    test.command(9, 'signal', 'go', jsonb_build_object(
        'id', '00000000-0000-7000-8000-0000000d0009', 'function', 'w', 'key', 'k', 'payload', '{"x": 1}'::jsonb
    )),
    test.command(10, 'request_cancel', null, jsonb_build_object('execution', :'flow'::uuid, 'reason', 'why')),
    test.command(11, 'side_effect', 'pick', '{"value": 4}'),
    test.start(12, 'task', '0012'),
    test.command(12, 'cancel'),
    test.command(null, 'version', 'change', '{"version": 2}')
), '{"started": {"version": 3, "python": "3.11", "engine": 1}}') as word \gset
select token from currant.claim(:'worker', '{export 0001}', 1) \gset
select currant.complete(:'worker', '00000000-0000-7000-8000-0000000d0001', :token, '{"r": [1, null]}') as word \gset
select token from currant.claim(:'worker', '{export 0002}', 1) \gset
select currant.fail(:'worker', '00000000-0000-7000-8000-0000000d0002', :token, '{"type": "E"}') as word \gset
select test.activate(
    :'worker', '00000000-0000-7000-8000-0000000d0003', test.command(null, 'complete', null, '{"result": 3}')
) as word \gset
select currant.cancel('00000000-0000-7000-8000-0000000d0004') as word \gset
select token from currant.claim(:'worker', '{export other}', 1) \gset
select currant.complete(:'worker', :'other', :token, '"o"') as word \gset
select currant.cancel(:'failing') as word \gset
select test.pass('1 second');
select (currant.tick('due')).done \gset
select currant.signal(:'id', 'hello', '{"y": 2}') as arrival \gset
select currant.cancel(:'id', 'enough') as word \gset
select test.activate(:'worker', :'id', test.command(null, 'version', 'late', '{"version": 1}', 10)) as word \gset

create function test.entries(id uuid) returns table (
    event integer, "position" integer, kind text, number integer, name text, payload jsonb, args jsonb, execution_id uuid,
    source text, at text
) language sql as $$
    select e.event, e."position", e.kind, e.number, e.name, e.payload, e.args, e.execution_id, e.source, e.at
    from jsonb_to_recordset(currant.export_history(id) -> 'entries') as e (
        event integer, "position" integer, kind text, number integer, name text, payload jsonb, args jsonb,
        execution_id uuid, source text, at text
    )
$$;
select results_eq(
    format($$ select kind, number, args, right(execution_id::text, 4) from test.entries(%L) where event = 1 $$, :'id'),
    format($$ values
        ('started', null::integer, null::jsonb, null::text),
        ('task', 1, '{"n": 1}', '0001'), ('task', 2, '{"n": 2}', '0002'), ('child', 3, '{"n": 3}', '0003'),
        ('child', 4, '{"n": 4}', '0004'), ('timer', 5, null, null), ('attach', 6, null, %L), ('attach', 7, null, %L),
        ('queue', 8, '{"n": 8}', '0008'), ('signal', 9, null, null), ('request_cancel', 10, null, null),
        ('side_effect', 11, null, null), ('task', 12, null, '0012'), ('cancel', 12, null, null),
        ('version', null, null, null) $$, right(:'other', 4), right(:'failing', 4)),
    'commands are there, with the arguments of what they started'
);
select results_eq(
    format($$
        select kind, number, right(execution_id::text, 4) from test.entries(%L)
        where event > 1 and position = 0 order by kind
    $$, :'id'),
    format($$ values
        ('attached_completed', 6, %L), ('attached_failed', 7, %L), ('cancel_requested', null::integer, null),
        ('child_completed', 3, '0003'), ('child_failed', 4, '0004'), ('signal_received', null, null),
        ('task_completed', 1, '0001'), ('task_failed', 2, '0002'), ('timer_fired', 5, null) $$,
        right(:'other', 4), right(:'failing', 4)),
    'and every event'
);
select is(
    (select e.payload from test.entries(:'id') as e where e.kind = k.kind and coalesce(e.number, 0) = k.number),
    k.payload::jsonb, format('payload of %s', k.kind)
)
from (values
    ('started', 0, '{"version": 3, "python": "3.11", "engine": 1}'),
    ('task', 2, '{"queue": "export 0002", "retries": 0}'),
    ('child', 4, '{"queue": "export 0004", "on_parent_end": "abandon"}'),
    ('timer', 5, '{"seconds": 1}'),
    ('side_effect', 11, '{"value": 4}'),
    ('signal_received', 0, '{"y": 2}'),
    ('task_completed', 1, '{"r": [1, null]}'),
    ('task_failed', 2, '{"type": "E", "status": "failed", "attempts": 1}'),
    ('child_completed', 3, '3'),
    ('attached_completed', 6, '"o"'),
    ('cancel_requested', 0, '{"reason": "enough"}')
) as k (kind, number, payload);
select is(
    (select e.payload -> 'payload' from test.entries(:'id') as e where e.kind = 'signal'), '{"x": 1}',
    'a signal sent has its payload'
);
select results_eq(
    format($$ select event, position, at, source from test.entries(%L)
        where kind in ('started', 'task_failed', 'version') order by at, kind $$, :'id'),
    $$
        select h.event, h.position, to_char(h.at at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.US"+00:00"'), h.source
        from currant.history('00000000-0000-7000-8000-0000000d0000') as h
        where h.kind in ('started', 'task_failed', 'version') order by h.at, h.kind
    $$, 'each in its place, with its time and source'
);
select is(
    (select count(*) from test.entries(:'id')), (select count(*) from currant.history(:'id')), 'nothing is left out'
);

-- After it has continued as new.
select currant.signal(:'id', 'again') as arrival \gset
select test.activate(
    :'worker', :'id',
    test.command(
        null, 'continue_as_new', null, '{"args": {"a": 2}, "signals": [{"name": "hello", "payload": 1}]}', 11
    )
) as word \gset
select is(
    (currant.export_history(:'id') -> 'execution') - 'created_at' - 'headers' - 'id' - 'parent_id',
    jsonb_build_object(
        'function', 'w', 'version', 3, 'queue', 'export', 'args', '{"a": 2}'::jsonb, 'root_id', :'id',
        'status', 'suspended', 'first_event', 12
    ),
    'when it continues as new its arguments are those of the new run'
);
select is(currant.export_history(:'id') -> 'entries', '[]', 'which has no entries yet');
select test.activate(:'worker', :'id', test.command(null, 'complete', null, '{"result": 5}', 12)) as word \gset
select results_eq(
    format($$ select event, position, kind from test.entries(%L) $$, :'id'),
    $$ values (12, 0, 'started'), (12, 1, 'complete') $$, 'and then only its own'
);
select is(
    jsonb_path_query_array(currant.export_history(:'id') -> 'execution', '$.keyvalue() ? (@.key == "status" || @.key == "first_event" || @.key == "args").value'),
    '[{"a": 2}, "completed", 12]', 'also when it has ended'
);

select throws_ok($$ select currant.export_history(gen_random_uuid()) $$, 'KR004', null, 'it has to exist');
select throws_ok(format($$ select currant.export_history(%L) $$, :'other'), '22023', null, 'and to be a workflow');

select * from finish();
rollback;

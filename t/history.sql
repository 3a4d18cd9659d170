-- history: what was applied, in order, with the commands each event caused.

begin;

\ir lib/helpers.psql

select plan(13);

select test.stop_clock('2030-01-01 00:00:00+00');
select test.worker('history') as worker \gset
select currant.enqueue('w', '{"a": 1}', '{"queue": "history", "kind": "workflow"}') as id \gset
select is_empty(format($$ select * from currant.history(%L) $$, :'id'), 'before it begins a workflow has no history');

select test.activate(
    :'worker', :'id', jsonb_build_array(
        test.command(1, 'task', 'step', '{"id": "00000000-0000-7000-8000-000000000011", "args": {"x": 1},
            "options": {"queue": "history", "retries": 0}}'),
        test.command(2, 'task', 'step', '{"id": "00000000-0000-7000-8000-000000000012", "args": {"x": 2},
            "options": {"queue": "history", "retries": 0}}'),
        test.command(3, 'timer', null, '{"seconds": 1.5}')
    ), '{"started": {"version": 1, "python": "3.11", "engine": 1}}'
) as word \gset
select results_eq(
    format(
        $$ select event, position, kind, number, name, payload, execution_id, source from currant.history(%L) $$, :'id'
    ),
    $$ values
        (1, 0, 'started', null::integer, null, '{"version": 1, "python": "3.11", "engine": 1}'::jsonb,
            null::uuid, null),
        (1, 1, 'task', 1, 'step', '{"queue": "history", "retries": 0}',
            '00000000-0000-7000-8000-000000000011', 'app.py:7'),
        (1, 2, 'task', 2, 'step', '{"queue": "history", "retries": 0}',
            '00000000-0000-7000-8000-000000000012', 'app.py:7'),
        (1, 3, 'timer', 3, null, '{"seconds": 1.5}', null, 'app.py:7') $$,
    'the start, and the commands it caused in their order'
);

select test.pass('1 second');
create temporary table leased as select execution_id as id, token from currant.claim(:'worker', '{history}', 2);
select currant.complete(:'worker', id, token, '{"r": 2}') as word from leased where id::text like '00000000-%12' \gset
select currant.fail(
    :'worker', id, token, '{"type": "E", "message": "m"}'
) as word from leased where id::text like '00000000-%11' \gset
select test.pass('1 second');
select (currant.tick('due')).done \gset
select execution_id, claimed_at, token, inbox from currant.claim(:'worker', '{history}', 0, 1) \gset
select results_eq(
    format($$ select value ->> 'kind', (value ->> 'number')::integer, value -> 'payload', value ->> 'execution_id'
        from jsonb_array_elements(%L) $$, :'inbox'),
    $$ values
        ('task_completed', 2, '{"r": 2}'::jsonb, '00000000-0000-7000-8000-000000000012'),
        ('task_failed', 1, '{"type": "E", "message": "m", "status": "failed", "attempts": 1}',
            '00000000-0000-7000-8000-000000000011'),
        ('timer_fired', 3, 'null', null) $$,
    'what happened is in the inbox by arrival, with the number of the command it answers'
);
select test.pass('3 seconds');
select currant.advance(
    :'worker', :'id', :token, 1,
    (
        select array_agg((value ->> 'arrival')::bigint order by n)
        from jsonb_array_elements(:'inbox') with ordinality as i (value, n)
    ),
    jsonb_build_array(
        test.command(null, 'version', 'change', '{"version": 2, "inferred": false}', 3),
        test.command(4, 'timer', null, '{"seconds": 60}', 3), test.command(4, 'cancel', null, null, 4)
    )
) as word \gset
select results_eq(
    format($$ select event, position, kind, number, name, payload from currant.history(%L, 1) $$, :'id'),
    $$ values
        (2, 0, 'task_completed', 2, null, '{"r": 2}'::jsonb),
        (3, 0, 'task_failed', 1, null, '{"type": "E", "message": "m", "status": "failed", "attempts": 1}'),
        (3, 1, 'version', null, 'change', '{"version": 2, "inferred": false}'),
        (3, 2, 'timer', 4, null, '{"seconds": 60}'),
        (4, 0, 'timer_fired', 3, null, null),
        (4, 1, 'cancel', 4, null, null) $$,
    'it moves to the history in that order, each with what it caused; history can be read from an event on'
);
select is(
    (select at from currant.history(:'id', 1) limit 1), :'claimed_at'::timestamptz,
    'the time of an event is that of its intake'
);
select is_empty(format($$ select * from currant.history(%L, 4) $$, :'id'), 'after the last event there is nothing');
select is((select due_at from currant.status(:'id')), null, 'a timer cancelled in the same commit does not run');

-- The clock goes back; the workflow's time does not.
select test.stop_clock('2029-12-31 12:00:00+00');
select currant.signal(:'id', 's') as arrival \gset
select cmp_ok(
    (select c.claimed_at from currant.claim(:'worker', '{history}', 0, 1) as c), '>=', :'claimed_at'::timestamptz,
    'the time of a workflow never goes back'
);
select is(
    (select currant.advance(:'worker', :'id', token, last_event, array[:arrival], '[]') from currant.resume(:'worker')),
    'accepted', 'whatever the clock says'
);
select is((select count(*) from currant.history(:'id', 4)), 1::bigint, 'the next event has the next number');
select is((select max(event) from currant.history(:'id')), 5, 'without gaps');

select currant.enqueue('f', '{}', '{"queue": "history"}') as task \gset
select is_empty(format($$ select * from currant.history(%L) $$, :'task'), 'a task has no history');
select is_empty($$ select * from currant.history(gen_random_uuid()) $$, 'nor has what does not exist');

select * from finish();
rollback;

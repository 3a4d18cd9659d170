-- advance: children with an idempotency key, which attach to the execution that has the key already.

begin;

\ir ../lib/helpers.psql

select plan(24);

select test.stop_clock('2030-01-01 00:00:00+00');
select test.worker('keyed') as worker \gset
create function test.flow() returns uuid language sql as $$
    select currant.enqueue('w', '{}', '{"queue": "keyed", "kind": "workflow"}')
$$;
create function test.id(n integer) returns uuid language sql as $$
    select ('00000000-0000-7000-8000-0000000cb' || lpad(n::text, 3, '0'))::uuid
$$;

select test.flow() as id \gset
select currant.enqueue('child', '{"x": 0}', '{"queue": "keyed_elsewhere", "kind": "workflow", "key": "taken"}') as holder \gset
select is(test.activate(:'worker', :'id', jsonb_build_array(
    test.child_command(1, test.id(1), '{"key": "free"}'),
    test.child_command(2, test.id(2), '{"key": "free"}'),
    test.child_command(3, test.id(3), '{"key": "taken"}'),
    test.child_command(4, test.id(4), '{"key": "dropped"}'),
    test.command(4, 'cancel'),
    test.command(5, 'queue', 'child', jsonb_build_object(
        'id', test.id(5), 'options', '{"key": "first", "queue": "keyed", "kind": "workflow"}'::jsonb
    )),
    test.child_command(6, test.id(6), '{"key": "first"}'),
    test.child_command(7, test.id(7), '{"key": "free"}', 1, 'other child')
)), 'accepted', 'children may have keys');

select results_eq(
    format($$ select parent_id, key from currant.status(%L) $$, test.id(1)),
    format($$ values (%L::uuid, 'free') $$, :'id'), 'a child with a free key is made'
);
select is(currant.enqueue('child', '{}', '{"queue": "keyed", "key": "free"}'), test.id(1), 'and has the key from then on');
select is(
    (select array_agg(id order by id) from currant.executions where id between test.id(2) and test.id(9)),
    array[test.id(5), test.id(7)], 'one whose key is taken is not, nor one that was cancelled at once'
);
select is(
    (currant.status(test.id(5))).parent_id, null,
    'of two commands the first gets the key: what was queued before is independent'
);
select is(test.counters(:'id'), '0 tasks, 2 children', 'those that are attached are not counted');
select isnt(
    currant.enqueue('child', '{}', '{"queue": "keyed", "key": "dropped"}'), test.id(4),
    'a child cancelled in the same commit leaves its key alone'
);
select is((currant.status(:'holder')).parent_id, null, 'the holder of a key stays what it was');
select is((currant.status(:'holder')).args, '{"x": 0}', 'with its arguments');

-- The ends.
select test.activate(:'worker', test.id(1), test.command(null, 'complete', null, '{"result": "mine"}')) as word \gset
select is(
    (
        select jsonb_agg(jsonb_build_array(i.value -> 'kind', i.value -> 'number', i.value -> 'payload', i.value -> 'execution_id'))
        from jsonb_array_elements(currant._inbox_of(:'id')) as i (value)
    ),
    format(
        '[["attached_completed", 2, "mine", "%1$s"], ["child_completed", 1, "mine", "%1$s"]]', test.id(1)
    )::jsonb,
    'the end of a child comes to the command that made it and to the one that attached to it'
);
select test.activate(:'worker', :'id') as word \gset
select is(test.counters(:'id'), '0 tasks, 1 children', 'it counts once');
select results_eq(
    format($$ select kind, number, payload, execution_id from currant.history(%L, 1) order by number $$, :'id'),
    format($$ values ('child_completed', 1, '"mine"'::jsonb, %1$L::uuid), ('attached_completed', 2, '"mine"', %1$L) $$, test.id(1)),
    'the history shows the result of both'
);
select is(
    currant.cancel(:'holder', 'by hand'), 'cancelled', 'the holder is cancelled'
);
select results_eq(
    format($$ select kind, number, payload ->> 'status', child_id from currant.inbox where workflow_id = %L $$, :'id'),
    format($$ values ('attached_failed', 3, 'cancelled', %L::uuid) $$, :'holder'), 'that is told, too'
);

-- An ended holder.
select test.flow() as next \gset
select is(test.activate(:'worker', :'next', jsonb_build_array(
    test.child_command(1, test.id(11), '{"key": "free"}'), test.child_command(2, test.id(12), '{"key": "taken", "key_scope": "open"}')
)), 'accepted', 'later another workflow uses the same keys');
select is(
    test.inbox(:'next'), format('[["attached_completed", 1, "%s"]]', test.id(1))::jsonb,
    'a key binds after the end: the answer is there at once'
);
select is((select count(*) from currant.ready where execution_id = :'next' and attempt = 0) > 0, true, 'and wakes');
select is((currant.status(test.id(12))).parent_id, :'next', 'unless its scope is what is open');
select is((select count(*) from currant.watchers where workflow_id = :'next'), 0::bigint, 'nothing is left to be told');

-- Cancelling one that only attached.
select currant.enqueue('child', '{}', '{"queue": "keyed_elsewhere", "kind": "workflow", "key": "shared"}') as shared \gset
select test.flow() as third \gset
select test.activate(:'worker', :'third', test.child_command(1, test.id(31), '{"key": "shared"}')) as word \gset
select currant.signal(:'third', 's') as arrival \gset
select test.activate(:'worker', :'third', test.command(1, 'cancel', null, null, 2)) as word \gset
select is((currant.status(:'shared')).status, 'pending', 'cancelling an attached child leaves the execution alone');
select currant.cancel(:'shared') as word \gset
select is(test.inbox(:'third'), '[]', 'and it is no longer told of');

-- One's own ancestor.
select currant.enqueue('parent', '{}', '{"queue": "keyed", "kind": "workflow", "key": "top"}') as top \gset
select test.activate(:'worker', :'top', test.child_command(1, test.id(41))) as word \gset
select test.activate(:'worker', test.id(41), test.child_command(1, test.id(42), '{"key": "top"}', 1, 'parent')) as word \gset
select results_eq(
    format($$ select kind, payload ->> 'type' from currant.inbox where workflow_id = %L $$, test.id(41)),
    $$ values ('attached_failed', 'OwnAncestor') $$, 'a key of an ancestor is an error'
);

select throws_ok(
    format($$ select test.activate(%L, test.flow(), test.child_command(1, test.id(51), %L)) $$, :'worker', c.options),
    '22023', null, c.sentence
)
from (values
    ('{"key": ""}', 'a key is checked'),
    ('{"key": "shared", "on_parent_end": "kill"}', 'so are the other options, even if it would only attach')
) as c (options, sentence);

select * from finish();
rollback;

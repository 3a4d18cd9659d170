-- advance: a command that cannot be carried out spoils the whole activation, and nothing of it happens.

begin;

\ir ../lib/helpers.psql

select plan(19);

select test.worker('refused') as worker \gset
select currant.enqueue('w', '{}', '{"queue": "refused", "kind": "workflow"}') as id \gset
select test.activate(:'worker', :'id') as word \gset
select currant.signal(:'id', 's') as arrival \gset
select token from currant.claim(:'worker', '{refused}', 0, 1) \gset
create function test.task(worker uuid, name text, options jsonb, event integer default 2)
returns text language sql as $$
    select currant.advance(
        worker, r.execution_id, r.token, r.last_event, array[(r.inbox -> 0 ->> 'arrival')::bigint],
        jsonb_build_array(test.command(1, 'task', name, jsonb_build_object(
            'id', '00000000-0000-7000-8000-00000000cc01'::uuid, 'options', options
        ), event))
    ) from currant.resume(worker) as r
$$;

select throws_ok(
    format($$ select test.task(%L, 'step', %L, %s) $$, :'worker', c.options, c.event), '22023', null, c.sentence
)
from (values
    ('{"prio": 1}', 2, 'an unknown option is refused'),
    ('{"priority": "high"}', 2, 'so is one of a wrong type'),
    ('{"key": "k"}', 2, 'and one that a task of a workflow does not have'),
    ('{}', 1, 'and a command of an event long past'),
    ('{}', 3, 'or of one that is still to come')
) as c (options, event, sentence);
create function test.refusal(worker uuid, commands jsonb)
returns text language sql as $$
    select test.error_of(format(
        'select currant.advance(%L, %L, %s, %s, array[%s], %L)', worker, r.execution_id, r.token, r.last_event,
        r.inbox -> 0 ->> 'arrival', commands
    ))
    from currant.resume(worker) as r
$$;
select matches(test.refusal(:'worker', jsonb_build_array(c.command)), '^' || c.error, c.sentence)
from (values
    (test.child_command(1, gen_random_uuid(), '{"prio": 1}', 2), '22023 .* known options: .*on_parent_end', 'a child has options of its own'),
    (test.child_command(1, gen_random_uuid(), '{"on_parent_end": "kill"}', 2), '22023', 'whose values are checked'),
    (test.child_command(1, gen_random_uuid(), '{"key": 7}', 2), '22023', 'the key, too'),
    (test.child_command(1, gen_random_uuid(), '{}', 3), '22023', 'a child is of an event that is applied'),
    (test.command(1, 'child', 'w', '{"options": {}}', 2), '22023 .* without an id', 'it has an id'),
    (test.child_command(1, gen_random_uuid(), '{}', 2, ''), '22023', 'and a name'),
    (
        test.command(1, 'child', 'w', jsonb_build_object('id', gen_random_uuid(), 'args', jsonb_build_array(repeat('x', 2000000))), 2),
        'KR005 .* arguments may have', 'its arguments may be too large'
    ),
    (
        test.child_command(1, gen_random_uuid(), jsonb_build_object('headers', jsonb_build_object('h', repeat('x', 2000000))), 2),
        'KR005 .* options may have', 'so may its options'
    ),
    (test.command(1, 'childs', 'w', '{}', 2), '22023 .* of a kind that this schema does not know', 'other kinds are not known')
) as c (command, error, sentence);
select is(
    test.refusal(:'worker', jsonb_build_array(
        test.command(1, 'child', 'w', jsonb_build_object('id', gen_random_uuid(), 'args', jsonb_build_array(repeat('x', 2000000))), 2),
        test.command(1, 'cancel', null, null, 2), test.command(null, 'complete', null, null, 2),
        test.command(null, 'cancelled', null, null, 2)
    )), '22023 | 2 ends | a workflow ends once, or continues as new', 'there is one end'
);
select is((select last_event from currant.resume(:'worker')), 1, 'nothing of it has happened');
select is((select count(*) from currant.history(:'id')), 1::bigint, 'nor is anything in the history');

select is(
    test.task(:'worker', 'unheard_of', '{}'), 'accepted', 'a function that nobody has registered may be asked for'
);
select is(
    (currant.status('00000000-0000-7000-8000-00000000cc01')).queue, 'refused', 'its queue is that of its workflow'
);

select * from finish();
rollback;

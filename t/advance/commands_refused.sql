-- advance: a command that cannot be carried out spoils the whole activation, and nothing of it happens.

begin;

\ir ../lib/helpers.psql

select plan(9);

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

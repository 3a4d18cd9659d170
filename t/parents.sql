-- What a workflow is told of its tasks: in the transaction that ends them, whatever ends them, once.

begin;

\ir lib/helpers.psql

select plan(15);

select test.stop_clock('2030-01-01 00:00:00+00');
select test.worker('parents') as worker \gset
select currant.enqueue('w', '{}', '{"queue": "parents", "kind": "workflow"}') as id \gset
select test.activate(:'worker', :'id', (
    select jsonb_agg(test.command(n, 'task', 'f', jsonb_build_object(
        'id', ('00000000-0000-7000-8000-' || lpad(n::text, 12, '0'))::uuid,
        'options', '{"queue": "parents_tasks", "retries": 0}'::jsonb
    )) order by n)
    from generate_series(1, 200) as n
)) as word \gset
select is((select open_tasks from currant.workflows where execution_id = :'id'), 200, 'two hundred tasks are open');
create temporary table leased as
select execution_id as id, token, right(execution_id::text, 3)::integer as n
from currant.claim(:'worker', '{parents_tasks}', 190);
select results_eq(
    'select n from leased limit 3', array[1, 2, 3], 'they are run in the order in which they were asked for'
);

select is(
    (
        select count(*) from leased as l
        cross join lateral (select currant.complete(:'worker', l.id, l.token, to_jsonb(l.n)) as word) as c
        where l.n <= 10 and c.word = 'accepted'
    ), 10::bigint, 'ten complete one by one'
);
select is(
    (
        select array(select distinct w from unnest(currant.complete_many(
            :'worker', array_agg(id order by n), array_agg(token order by n), array_agg(to_jsonb(n) order by n)
        )) as w) from leased where n between 11 and 170
    ), array['accepted'], 'most in one call'
);
select is((currant.status(:'id')).status, 'suspended', 'their workflow is to be woken');
select is(
    (
        select array(select distinct w from unnest(currant.fail_many(
            :'worker', array_agg(id order by n), array_agg(token order by n),
            array_fill('{"type": "E"}'::jsonb, array[10])
        )) as w) from leased where n between 171 and 180
    ), array['accepted'], 'some fail'
);
select is(currant.cancel('00000000-0000-7000-8000-000000000200', 'by hand'), 'cancelled', 'one is cancelled');
select test.pass('31 seconds');
select test.worker('parents') as next \gset
select test.keep_steady();
select is((currant.tick('recover')).done, 10, 'ten are lost with their worker');

create temporary table woken as select * from currant.claim(:'next', '{parents}', 0, 10);
select is((select count(*) from woken), 1::bigint, 'all of this is one activation');
select is(
    (select jsonb_array_length(inbox) from woken), 191, 'which is told of each of them'
);
select is(
    (select count(distinct i.value -> 'number') from woken cross join jsonb_array_elements(inbox) as i (value)),
    191::bigint, 'once'
);
select results_eq(
    $$ select i.value ->> 'kind', i.value -> 'payload' ->> 'type', i.value -> 'payload' ->> 'status',
        (i.value -> 'payload' ->> 'attempts')::integer, count(*)
    from woken cross join jsonb_array_elements(inbox) as i (value)
    where i.value ->> 'kind' = 'task_failed' group by 1, 2, 3, 4 order by 2 $$,
    $$ values
        ('task_failed', 'Cancelled', 'cancelled', 0, 1::bigint),
        ('task_failed', 'E', 'failed', 1, 10::bigint),
        ('task_failed', 'WorkerLost', 'failed', 1, 10::bigint) $$,
    'with the error, the status and the number of attempts'
);
select is((select count(*) from currant.ready where execution_id = :'id'), 0::bigint, 'no wake row is left over');

-- A rollback takes all of it back.
select execution_id as one, token from currant.claim(:'next', '{parents_tasks}', 1) \gset
savepoint before;
select currant.complete(:'next', :'one', :token, '1') as word \gset
rollback to savepoint before;
select is(
    (select count(*) from currant.inbox where child_id = :'one')
    + (select count(*) from currant.outcomes where execution_id = :'one')
    + (select count(*) from currant.ready where execution_id = :'id'), 0::bigint,
    'outcome, event and wake row come together or not at all'
);
select is((currant.status(:'one')).status, 'running', 'then the task is still running');

select * from finish();
rollback;

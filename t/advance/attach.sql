-- advance: waiting for the end of another execution.

begin;

\ir ../lib/helpers.psql

select plan(35);

select test.stop_clock('2030-01-01 00:00:00+00');
select test.worker('attach') as worker \gset
create function test.flow() returns uuid language sql as $$
    select currant.enqueue('w', '{}', '{"queue": "attach", "kind": "workflow"}')
$$;
create function test.attach(n integer, execution uuid, event integer default 1) returns jsonb language sql as $$
    select test.command(n, 'attach', 'other', jsonb_build_object('execution', execution), event)
$$;

select currant.enqueue('f', '{}', '{"queue": "attach", "retries": 0}') as task \gset
select currant.enqueue('w', '{}', '{"queue": "attach_never", "kind": "workflow"}') as other \gset
select test.flow() as id \gset
select test.flow() as second \gset
select is(
    test.activate(:'worker', :'id', jsonb_build_array(
        test.attach(1, :'task'), test.attach(2, :'other'), test.attach(3, :'other'),
        test.command(4, 'child', 'w', '{"id": "00000000-0000-7000-8000-00000000cd04", "options": {"queue": "attach_never"}}'),
        test.attach(5, '00000000-0000-7000-8000-00000000cd04')
    )), 'accepted', 'a workflow attaches to a task, to a workflow twice, and to its own child'
);
select test.activate(:'worker', :'second', test.attach(1, :'task')) as word \gset
select results_eq(
    format($$ select number, name, payload, execution_id from currant.history(%L) where kind = 'attach' limit 1 $$, :'id'),
    format($$ values (1, 'other', jsonb_build_object('execution', %1$L), %1$L::uuid) $$, :'task'),
    'the history shows to what'
);
select is(
    (currant.status(:'second')).waits_for, 'the end of execution ' || :'task', 'so does the status'
);
select is((currant.status(:'second')).due_at, null, 'which promises no time');
select is(test.counters(:'second'), '0 tasks, 0 children', 'what is attached to is not its own');
select is((select active_since from currant.workflows where execution_id = :'second'), null, 'nor does its time run');
select is(currant.watch(:'task'), 'pending', 'somebody else waits for the same end');
select is(
    (select count(*) from currant.watchers where execution_id = :'task' and workflow_id is null), 1::bigint,
    'and will be notified, too'
);

select token from currant.claim(:'worker', '{attach}', 1) \gset
select currant.complete(:'worker', :'task', :token, '{"r": 1}') as word \gset
select is(test.inbox(:'id'), format('[["attached_completed", 1, "%s"]]', :'task')::jsonb, 'the end of a task is told');
select is(
    test.inbox(:'second'), format('[["attached_completed", 1, "%s"]]', :'task')::jsonb, 'to each workflow that attached'
);
select results_eq(
    format(
        $$ select c.execution_id, i.value ->> 'kind', i.value -> 'payload'
        from currant.claim(%L, '{attach}', 0, 100) as c cross join jsonb_array_elements(c.inbox) as i (value)
        order by c.execution_id $$, :'worker'
    ),
    format(
        $$ select id, 'attached_completed', '{"r": 1}'::jsonb from currant.executions where id in (%L, %L) order by id $$,
        :'id', :'second'
    ), 'with the result'
);
select count(*) from (
    select currant.advance(
        :'worker', execution_id, token, last_event,
        array(select (value ->> 'arrival')::bigint from jsonb_array_elements(inbox)), '[]'
    ) from currant.resume(:'worker')
) as x \gset
select results_eq(
    format($$ select kind, number, payload, execution_id from currant.history(%L, 1) $$, :'second'),
    format($$ values ('attached_completed', 1, '{"r": 1}'::jsonb, %L::uuid) $$, :'task'), 'also in the history'
);
select is(test.counters(:'id'), '0 tasks, 1 children', 'applying it counts nothing');

select currant.cancel(:'other', 'not needed') as word \gset
select results_eq(
    format($$ select kind, number, payload from currant.inbox where workflow_id = %L order by number $$, :'id'),
    $$ select 'attached_failed', n, '{"type": "Cancelled", "message": "not needed", "retryable": false,
        "status": "cancelled", "attempts": 1}'::jsonb from generate_series(2, 3) as n $$,
    'every command gets its own event, an end without result as a failure'
);
select test.activate(:'worker', '00000000-0000-7000-8000-00000000cd04', test.command(null, 'complete')) as word \gset
select is(
    (select array_agg(kind order by number) from currant.inbox where workflow_id = :'id' and number > 3),
    array['child_completed', 'attached_completed'], 'the end of a child that was also attached to is told twice'
);
select is(
    (select count(*) from currant.watchers where workflow_id is not null), 0::bigint, 'nobody waits any more'
);
select test.pass('2 seconds');
select is((currant.tick('due')).done, 5, 'the ends are looked at once more');
select is(
    (select count(*) from currant.inbox where workflow_id = :'id' and kind like 'attached%'), 3::bigint, 'and not told again'
);
select is((select count(*) from currant.delayed where kind = 'attach'), 0::bigint, 'nor looked at for ever');

-- At once.
select currant.enqueue('f', '{}', '{"queue": "attach_never"}') as never \gset
select currant.cancel(:'never') as word \gset
select currant.enqueue('child', '{}', '{"queue": "attach_never", "key": "held"}') as held \gset
select test.flow() as top \gset
select test.activate(:'worker', :'top', test.command(1, 'child', 'w',
    '{"id": "00000000-0000-7000-8000-00000000cd10", "options": {"queue": "attach"}}'
)) as word \gset
select test.activate(:'worker', '00000000-0000-7000-8000-00000000cd10', test.command(1, 'child', 'w',
    '{"id": "00000000-0000-7000-8000-00000000cd11", "options": {"queue": "attach"}}'
)) as word \gset
select is(
    test.activate(:'worker', '00000000-0000-7000-8000-00000000cd11', jsonb_build_array(
        test.attach(1, :'task'), test.attach(2, :'never'), test.attach(3, '00000000-0000-7000-8000-00000000cdff'),
        test.attach(4, '00000000-0000-7000-8000-00000000cd11'), test.attach(5, :'top'),
        test.command(6, 'queue', 'child', jsonb_build_object(
            'id', '00000000-0000-7000-8000-00000000cd16'::uuid, 'options', '{"queue": "attach_never", "key": "held"}'::jsonb
        )),
        test.attach(7, '00000000-0000-7000-8000-00000000cd16'),
        test.attach(8, null)
    )), 'accepted', 'it attaches to what has ended, to what does not exist, to itself and to its grandparent'
);
select results_eq(
    $$ select number, kind, coalesce(payload ->> 'type', '-') from currant.inbox
    where workflow_id = '00000000-0000-7000-8000-00000000cd11' order by arrival $$,
    $$ values (1, 'attached_completed', '-'), (2, 'attached_failed', 'Cancelled'),
        (3, 'attached_failed', 'ExecutionNotFound'), (4, 'attached_failed', 'OwnAncestor'),
        (5, 'attached_failed', 'OwnAncestor'), (8, 'attached_failed', 'ExecutionNotFound') $$,
    'each of which is answered at once'
);
select is(
    (select payload ->> 'message' from currant.inbox where workflow_id = '00000000-0000-7000-8000-00000000cd11' and number = 5),
    format('execution %s is an ancestor of the workflow: waiting for its end would never end', :'top'),
    'the reason says what is wrong'
);
select is(
    (select execution_id from currant.watchers where workflow_id = '00000000-0000-7000-8000-00000000cd11'), :'held',
    'what it queued under a key that was taken is the execution that has the key'
);

-- Taken back.
select test.flow() as third \gset
select test.activate(:'worker', :'third', jsonb_build_array(
    test.attach(1, :'held'), test.attach(2, :'held'), test.attach(3, :'held'), test.command(3, 'cancel')
)) as word \gset
select is(
    (select array_agg(number order by number) from currant.watchers where workflow_id = :'third'), array[1, 2],
    'what is cancelled in the same commit is not attached'
);
select currant.signal(:'third', 's') as arrival \gset
select test.activate(:'worker', :'third', test.command(1, 'cancel', null, null, 2)) as word \gset
select is((currant.status(:'held')).status, 'pending', 'taking an attachment back leaves the execution alone');
select is(
    (select array_agg(number order by number) from currant.watchers where workflow_id = :'third')
    || (select array_agg(number order by number) from currant.delayed where execution_id = :'third'),
    array[2, 2], 'and the other attachment'
);
select currant.signal(:'third', 's') as arrival \gset
select test.activate(:'worker', :'third', jsonb_build_array(
    test.attach(4, :'held', 3), test.command(null, 'complete', null, null, 3)
)) as word \gset
select is(
    (select count(*) from currant.watchers where workflow_id = :'third')
    + (select count(*) from currant.delayed where execution_id = :'third'), 0::bigint,
    'a workflow that ends waits for nothing'
);
select is((currant.status(:'held')).status, 'pending', 'and does no harm to what it waited for');

-- What is read is what it says: nothing of an end is lost with a rollback, and nothing is left of it.
select token from currant.claim(:'worker', '{attach_never}', 1) \gset
savepoint before;
select currant.complete(:'worker', :'held', :token, '1') as word \gset
select is(
    test.inbox('00000000-0000-7000-8000-00000000cd11') -> 6,
    format('["attached_completed", 7, "%s"]', :'held')::jsonb, 'the holder of the key ends'
);
rollback to savepoint before;
select is(
    (select count(*) from currant.watchers where execution_id = :'held' and workflow_id is not null), 1::bigint,
    'undone, it is still waited for'
);
select throws_ok(
    format(
        $$ select test.activate(%L, test.flow(), test.command(1, 'attach', null, '{"execution": "no uuid"}')) $$, :'worker'
    ),
    '22P02', null, 'what is no id is refused'
);

-- Many that wait for one.
select currant.enqueue('f', '{}', '{"queue": "attach_many"}') as awaited \gset
insert into currant.workflows (execution_id, queue, rank, timeout, version, last_at, last_event)
select ('00000000-0000-7000-8000-0001' || lpad(n::text, 8, '0'))::uuid, 'attach_many', 0, '1 hour', 1, currant._now(), 1
from generate_series(1, 500) as n;
insert into currant.watchers (execution_id, watching_until, workflow_id, number)
select :'awaited', 'infinity', ('00000000-0000-7000-8000-0001' || lpad(n::text, 8, '0'))::uuid, m
from generate_series(1, 500) as n
cross join generate_series(1, 2) as m;
create temporary table statements (n integer);
create function test.count_statement() returns trigger language plpgsql as $$
begin
    insert into statements values (1);
    return null;
end
$$;
create trigger test_count after insert on currant.ready for each statement execute function test.count_statement();
select is(currant.cancel(:'awaited', 'enough'), 'cancelled', 'what many wait for ends');
drop trigger test_count on currant.ready;
select results_eq(
    format($$ select kind, number, payload ->> 'message', count(*) from currant.inbox where child_id = %L group by 1, 2, 3 order by 2 $$, :'awaited'),
    $$ values ('attached_failed', 1, 'enough', 500::bigint), ('attached_failed', 2, 'enough', 500::bigint) $$,
    'all are told, of each attachment'
);
select is(
    (select count(*) from currant.ready where queue = 'attach_many'), 500::bigint, 'and woken once each'
);
select is((select count(*) from statements), 1::bigint, 'at once');

select * from finish();
rollback;

-- enqueue_and_signal: one workflow for a key, started by the first signal, and no signal lost at its end.

begin;

\ir lib/helpers.psql

select plan(60);

select test.stop_clock('2030-01-01 00:00:00+00');
select test.worker('starting') as worker \gset
create function test.options(key text, more jsonb default '{}') returns jsonb language sql as $$
    select jsonb_build_object('queue', 'starting', 'kind', 'workflow', 'key', key) || more
$$;
create function test.send(key text, n integer, more jsonb default '{}') returns uuid language sql as $$
    select currant.enqueue_and_signal('w', jsonb_build_object('n', n), 's', to_jsonb(n), test.options(key, more))
$$;
create function test.unread(id uuid) returns text language sql as $$
    select string_agg(i.payload::text, ' ' order by i.arrival) from currant.inbox as i
    where i.workflow_id = id and i.kind = 'signal_received'
$$;
create function test.holder(key text) returns uuid language sql as $$
    select currant._key_holder('w', key)
$$;

-- Starting, and not.
select test.send('cart 1', 1) as id \gset
select is(test.holder('cart 1'), :'id', 'where there is none a workflow is started under the key');
select results_eq(
    format($$ select s.status, s.args, s.queue, s.key from currant.status(%L) as s $$, :'id'),
    $$ values ('pending', '{"n": 1}'::jsonb, 'starting', 'cart 1') $$, 'with the arguments and options'
);
select is(test.unread(:'id'), '1', 'and has the signal');
select is(test.send('cart 1', 2), :'id', 'the next call finds it');
select is(test.unread(:'id'), '1 2', 'and signals it');
select is((currant.status(:'id')).args, '{"n": 1}', 'its arguments stay those of the first');
select isnt(test.send('cart 2', 1), :'id', 'another key is another workflow');
select test.activate(:'worker', :'id', test.command(1, 'timer', null, '{"seconds": 60}', 3)) as word \gset
select is(test.send('cart 1', 3), :'id', 'one that has begun is found, too');
select results_eq(
    format($$ select status, waits_for from currant.execution_status where id = %L $$, :'id'),
    $$ values ('suspended', 'a free worker on queue starting') $$, 'and woken'
);

select is(
    test.send('cart 1', 4, '{"signal_key": "m4"}'), test.send('cart 1', 4, '{"signal_key": "m4"}'),
    'with a key of the signal the call may be repeated'
);
select is(test.unread(:'id'), '3 4', 'and delivers it once');
select test.send('cart 1', 5, '{"signal_id": "00000000-0000-7000-8000-000000000055"}') as again \gset
select test.send('cart 1', 5, '{"signal_id": "00000000-0000-7000-8000-000000000055"}') as again \gset
select is(test.unread(:'id'), '3 4 5', 'or with an id');

-- After the end.
select test.activate(:'worker', :'id', test.command(null, 'complete', null, '{"result": 1}', 6)) as word \gset
select is((currant.status(:'id')).status, 'completed', 'the workflow ends');
select test.send('cart 1', 6) as second \gset
select isnt(:'second'::uuid, :'id', 'then the next signal starts another');
select is(test.holder('cart 1'), :'second', 'which has the key from now on');
select is((currant.status(:'second')).args, '{"n": 6}', 'with its own arguments');

select test.send('once', 1, '{"key_scope": "always"}') as once \gset
select is(test.send('once', 2, '{"key_scope": "always", "signal_key": "m2"}'), :'once', 'a key may be for good');
select is(currant.cancel(:'once'), 'cancelled', 'after the end of such a workflow');
select throws_ok(
    $$ select test.send('once', 3, '{"key_scope": "always"}') $$, 'KR003', null, 'the signal is refused'
);
select is(
    test.send('once', 2, '{"key_scope": "always", "signal_key": "m2"}'), :'once',
    'unless it is a repetition of one that was delivered'
);
select is(test.unread(:'once'), '1 2', 'and what it left unread stays with it');

-- By id.
select currant.enqueue_and_signal(
    'w', '{}', 's', '1', '{"queue": "starting", "kind": "workflow", "id": "00000000-0000-7000-8000-0000000a0001"}'
) as given \gset
select is(:'given'::uuid, '00000000-0000-7000-8000-0000000a0001', 'the id may be given instead of a key');
select currant.enqueue_and_signal(
    'w', '{}', 's', '2', '{"queue": "starting", "kind": "workflow", "id": "00000000-0000-7000-8000-0000000a0001"}'
) as given \gset
select is(test.unread(:'given'), '1 2', 'and signals the same workflow again');
select is(
    test.send('with id', 1, '{"id": "00000000-0000-7000-8000-0000000a0002"}'),
    '00000000-0000-7000-8000-0000000a0002', 'or with a key'
);
select is(
    test.send('with id', 2, '{"id": "00000000-0000-7000-8000-0000000a0003"}'),
    '00000000-0000-7000-8000-0000000a0002', 'whose holder counts'
);
select currant.cancel(:'given') as word \gset
select throws_ok(
    $$ select currant.enqueue_and_signal('w', '{}', 's', '3',
        '{"queue": "starting", "kind": "workflow", "id": "00000000-0000-7000-8000-0000000a0001"}') $$,
    'KR003', null, 'an id stays that of an ended workflow'
);

-- Refused.
select throws_ok(
    $$ select currant.enqueue_and_signal('w', '{}', 's', '1', '{"queue": "starting", "kind": "workflow"}') $$,
    '22023', null, 'a key or an id is needed'
);
select throws_ok(
    $$ select currant.enqueue_and_signal('f', '{}', 's', '1', '{"queue": "starting", "key": "k"}') $$,
    '22023', null, 'a task takes no signals'
);
select is(currant._key_holder('f', 'k'), null, 'and is not started');
select currant.enqueue('w', '{}', '{"queue": "starting", "key": "a task''s"}') as task \gset
select throws_ok($$ select test.send('a task''s', 1) $$, '22023', null, 'nor does one take them that has the key');
select throws_ok(
    $$ select currant.enqueue_and_signal('unheard of', '{}', 's', '1', '{"key": "k"}') $$, 'KR001', null,
    'an unregistered function needs a queue'
);
select throws_ok($$ select test.send('k', 1, '{"signal": "s"}') $$, '22023', null, 'options are checked');
select throws_ok(
    $$ select test.send('k', 1, '{"signal_key": "k", "signal_id": "00000000-0000-7000-8000-000000000055"}') $$,
    '22023', null, 'a signal has one id'
);
select throws_ok(
    $$ select currant.enqueue_and_signal('w', '{}', '', '1', test.options('k')) $$, '22023', null, 'and a name'
);
select throws_ok(
    $$ select currant.enqueue_and_signal('w', '1', 's', '1', test.options('k')) $$, '22023', null,
    'the arguments are an object or an array'
);
select throws_ok(
    $$ select currant.enqueue_and_signal('w', '{}', 's', to_jsonb(repeat(md5('x'), 100000)), test.options('k')) $$,
    'KR005', null, 'and the payload is not too large'
);
select is(test.holder('k'), null, 'of all that nothing was started');
savepoint before;
select test.send('undone', 1) as undone \gset
rollback to before;
select is(test.holder('undone'), null, 'nor of what was rolled back');
select is((select count(*) from currant.inbox where workflow_id = :'undone'), 0::bigint, 'or signalled');

-- A signal that comes while the workflow ends, and is not read: as when both commit at the same time.
select test.send('late', 1) as late \gset
select currant.signal(:'late', 's', '"not this one"') as arrival \gset
select test.send('late', 2, '{"signal_key": "m2"}') as late_again \gset
select token, inbox from currant.claim(:'worker', '{starting}', 0, 20) where execution_id = :'late' \gset
select currant.cancel(:'late', 'now', '{"force": true}') as word \gset
select is(test.holder('late'), :'late', 'at the end the key is still its');
select results_eq(
    format($$ select attempt, is_workflow, queue from currant.ready where execution_id = %L $$, :'late'),
    $$ values (0, true, 'starting') $$, 'a wake row stays'
);
select is_empty(
    format($$ select 1 from currant.claim(%L, '{starting}', 0, 1) where execution_id = %L $$, :'worker', :'late'),
    'of which a claim gets nothing'
);
select isnt(test.holder('late'), :'late', 'but starts another workflow for what was unread');
select is(test.unread(test.holder('late')), '1 2', 'which has the signals in their order');
select is(test.unread(:'late'), '"not this one"', 'except what was sent to the old one itself');
select is((currant.status(test.holder('late'))).args, '{"n": 1}', 'and the arguments of the first');
select test.send('late', 2, '{"signal_key": "m2"}') as late_again \gset
select is(test.unread(test.holder('late')), '1 2', 'a repeated call still delivers nothing twice');
select is(
    (select count(*) from currant.ready where execution_id = :'late'), 0::bigint, 'nothing is left to be done'
);

-- The wake row is met after the end: the signal's transaction committed later.
select test.send('later', 1) as later \gset
update currant.inbox set restart = null where workflow_id = :'later';
select currant.cancel(:'later', 'now', '{"force": true}') as word \gset
select is(
    (select count(*) from currant.ready where execution_id = :'later'), 0::bigint,
    'a workflow ends without signals that are to be kept'
);
insert into currant.inbox (workflow_id, kind, name, payload, arrived_at, restart)
values (
    :'later', 'signal_received', 's', '7', currant._now(),
    jsonb_build_object('function', 'w', 'args', '{"n": 7}'::jsonb, 'options', test.options('later', '{"key_scope": "open"}'))
);
insert into currant.ready (execution_id, queue, rank, attempt, is_workflow) values (:'later', 'starting', 0, 0, true);
select count(*) from currant.claim(:'worker', '{starting}', 0, 1) \gset
select is(test.unread(test.holder('later')), '7', 'one that arrives after the end goes to another');

-- One that is to be cancelled, which the claim that meets it does.
select test.send('to be cancelled', 1) as cancelled \gset
insert into currant.cancels (execution_id, reason, requested_at) values (:'cancelled', 'met', currant._now());
select count(*) from currant.claim(:'worker', '{starting}', 0, 1) \gset
select is((currant.status(:'cancelled')).status, 'cancelled', 'a claim ends what is to be cancelled');
select count(*) from currant.claim(:'worker', '{starting}', 0, 1) \gset
select is(test.unread(test.holder('to be cancelled')), '1', 'and the next one starts another for its signal');
select isnt(test.holder('to be cancelled'), :'cancelled', 'with the key');

-- The holder ends between being found and being signalled.
select test.send('between', 1) as between \gset
create function test.end_it() returns trigger language plpgsql as $$
begin
    perform currant._end_workflow(
        w.execution_id, 'cancelled', null, currant._cancelled_error(null), null, null, currant._now()
    )
    from currant.workflows as w where w.execution_id = new.id;
    return new;
end
$$;
create trigger test_end_it before insert on currant.executions for each row execute function test.end_it();
select test.send('between', 2) as next \gset
drop trigger test_end_it on currant.executions;
select is((currant.status(:'between')).status, 'cancelled', 'one that ends just when it is found');
select is(test.holder('between'), :'next', 'is replaced by another');
select is(test.unread(:'next'), '2', 'which gets the signal');
select count(*) from currant.claim(:'worker', '{starting}', 0, 1) \gset
select is(test.unread(:'next'), '2 1', 'and in the end what the first one had not read');

-- What is refused is tried again, and a claim does not fail over it.
select test.send('refused', 1) as refused \gset
update currant.inbox set restart = jsonb_set(restart, '{args}', '1') where workflow_id = :'refused';
select currant.cancel(:'refused', 'now', '{"force": true}') as word \gset
select lives_ok(format($$ select currant.claim(%L, '{starting}', 0, 1) $$, :'worker'), 'a claim goes on');
select is(test.unread(:'refused'), '1', 'the signal is kept');
select is(
    (select min(due_at) from currant.delayed where execution_id = :'refused'), timestamptz '2030-01-01 00:01:00+00',
    'for later'
);

select * from finish();
rollback;

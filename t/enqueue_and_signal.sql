-- enqueue_and_signal: one workflow for a key, started by the first signal, and no signal lost at its end.

begin;

\ir lib/helpers.psql

select plan(88);

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
-- Ends with its inbox unread, except those, as when signals kept coming.
create function test.end_unread(
    worker uuid, id uuid, arrivals bigint[] default '{}', kind text default 'complete'
) returns text language plpgsql as $$
declare
    _claimed currant.claimed := test.claim_flow(worker, id);
    _event integer := greatest(_claimed.last_event, 1) + cardinality(arrivals);
begin
    update currant.workflows set refused_ends = 3 where execution_id = id;
    return currant.advance(
        worker, id, _claimed.token, _claimed.last_event, arrivals,
        jsonb_build_array(test.command(null, kind, null, '{"result": 1}', _event))
    );
end
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

-- A repeated call, when another workflow has the key.
create function test.twice(n integer, id uuid) returns uuid language sql as $$
    select test.send('twice', n, jsonb_build_object('id', id, 'signal_key', 'm' || n))
$$;
select test.twice(1, '00000000-0000-7000-8000-0000000a0011') as handled \gset
select test.activate(:'worker', :'handled') as word \gset
select test.twice(2, '00000000-0000-7000-8000-0000000a0012') as same \gset
select test.activate(:'worker', :'handled', test.command(null, 'complete', null, '{"result": 1}', 3)) as word \gset
select is(test.twice(2, '00000000-0000-7000-8000-0000000a0012'), :'handled', 'repeated after the end a call returns the same');
select is(test.holder('twice'), :'handled', 'and starts nothing');
select test.twice(3, '00000000-0000-7000-8000-0000000a0013') as next \gset
select is(test.twice(1, '00000000-0000-7000-8000-0000000a0011'), :'handled', 'also when there is a next one');
select is(test.unread(:'next'), '3', 'which gets nothing of it');
select is(
    currant._key_holder('other', 'twice') is null and (select count(*) from currant.executions where key = 'twice') = 2,
    true, 'two messages, two workflows'
);
select test.send('not twice', 1, '{"signal_key": "m1"}') as other \gset
select is(test.unread(:'other'), '1', 'another key has messages of its own');
select test.end_unread(:'worker', :'next') as word \gset
select count(*) from currant.claim(:'worker', '{starting}', 0, 1) \gset
select is(test.twice(3, '00000000-0000-7000-8000-0000000a0013'), test.holder('twice'), 'what was given on has gone to the next');
select is(test.unread(test.holder('twice')), '3', 'once');

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
select test.end_unread(:'worker', :'late') as word \gset
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
    :'later', 'signal_received', 's', '7', currant._now() + interval '1 second',
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
select is(test.holder('to be cancelled'), :'cancelled', 'and nothing is started for the signal that it had');

-- What was cancelled does not come back.
create function test.comes_back(key text, id uuid) returns text language plpgsql as $$
begin
    for _round in 1 .. 3 loop
        perform currant.claim(test.worker('starting'), '{starting}', 0, 10);
        perform test.pass('1 second');
        perform currant.tick('due');
    end loop;
    return format('%s, unread %s, left %s', test.holder(key) <> id, test.unread(id), (
        select count(*) from currant.inbox where workflow_id = id and restart is not null
    ) + (select count(*) from currant.ready where execution_id = id));
end
$$;
select test.send('not begun', 1) as gone \gset
select is(currant.cancel(:'gone', 'not this'), 'cancelled', 'one that has not begun is cancelled');
select is(test.comes_back('not begun', :'gone'), 'f, unread 1, left 0', 'and its signal starts no other');
select test.send('by force', 1) as gone \gset
select test.activate(:'worker', :'gone') as word \gset
select test.send('by force', 2) as gone \gset
select is(currant.cancel(:'gone', 'not this', '{"force": true}'), 'cancelled', 'so is one by force');
select is(test.comes_back('by force', :'gone'), 'f, unread 2, left 0', 'with the same effect');
select test.send('blocked', 1) as gone \gset
select test.activate(:'worker', :'gone', '[]', '{"blocked": "other code"}') as word \gset
select is(currant.cancel(:'gone', 'not this'), 'cancelled', 'or one that is blocked');
select is(test.comes_back('blocked', :'gone'), 'f, unread 1, left 0', 'again');

select test.send('asked', 1) as gone \gset
select test.activate(:'worker', :'gone') as word \gset
select test.send('asked', 2) as gone \gset
select currant.cancel(:'gone', 'not this') as word \gset
select test.pass('1 second');
select is(test.send('asked', 3), :'gone', 'a signal that is sent after somebody has asked for the cancellation');
select test.pass('1 second');
select arrival from currant.inbox where workflow_id = :'gone' and kind = 'cancel_requested' \gset
select is(
    test.end_unread(:'worker', :'gone', array[:arrival], 'cancelled'), 'accepted', 'and before the workflow has ended by that'
);
select is(test.comes_back('asked', :'gone'), 't, unread 2, left 0', 'is for another, unlike the one before');
select is(test.unread(test.holder('asked')), '3', 'which gets it');
select test.send('by itself', 1) as gone \gset
select test.activate(:'worker', :'gone') as word \gset
select currant.signal(:'gone', 's') as arrival \gset
select test.send('by itself', 2) as gone \gset
select test.pass('1 second');
select test.end_unread(:'worker', :'gone', array[:arrival], 'cancelled') as word \gset
select is(
    test.comes_back('by itself', :'gone'), 't, unread , left 0', 'of one that nobody has cancelled but itself nothing is lost'
);

-- What a workflow has taken in, and nobody there has taken.
create function test.taken_in(worker uuid, key text, ending text, unread jsonb) returns uuid language plpgsql as $$
declare
    _id uuid := test.send(key, 1, '{"signal_key": "m1"}');
    _word text;
begin
    perform test.send(key, 2, '{"signal_key": "m2"}');
    perform currant.signal(_id, 's', '"not this one"');
    perform test.send(key, 3);
    if ending = 'cancelled' then
        perform test.activate(worker, _id);
        perform test.pass('1 second');
        perform currant.cancel(_id);
        perform test.pass('1 second');
        perform test.send(key, 4);
    end if;
    -- Five events, or seven, and an inbox that is not empty.
    _word := currant.advance(
        worker, _id, c.token, c.last_event,
        array(select (i.value ->> 'arrival')::bigint from jsonb_array_elements(c.inbox) as i),
        jsonb_build_array(test.command(
            null, ending, null, '{"result": 1}',
            jsonb_array_length(c.inbox) + greatest(c.last_event, 1)
        )), jsonb_build_object('unread', unread)
    ) from test.claim_flow(worker, _id) as c;
    if _word <> 'accepted' then
        raise exception '%', _word;
    end if;
    return _id;
end
$$;
select test.taken_in(:'worker', 'taken in', 'complete', '[3, 4, 5]') as gone \gset
select ok(test.comes_back('taken in', :'gone') like 't, unread , left 0', 'what nobody has taken starts another');
select is(
    test.unread(test.holder('taken in')), '2 3', 'with what was unread, in order, apart from what was for the old one only'
);
select is(
    test.send('taken in', 1, '{"signal_key": "m1"}'), :'gone', 'a message that was taken is known as the first one''s'
);
select is(
    test.send('taken in', 2, '{"signal_key": "m2"}'), test.holder('taken in'), 'one that was not, as the next one''s'
);
select test.taken_in(:'worker', 'taken', 'complete', '[]') as gone \gset
select is(test.comes_back('taken', :'gone'), 'f, unread , left 0', 'if all is taken nothing is started');
select test.taken_in(:'worker', 'taken in, cancelled', 'cancelled', '[2, 3, 4, 5, 6, 7]') as gone \gset
select is(
    test.comes_back('taken in, cancelled', :'gone'), 't, unread , left 0', 'with a cancellation goes what was sent before'
);
select is(test.unread(test.holder('taken in, cancelled')), '4', 'and what was sent after that starts another');

-- Much is given on in several claims.
select min(test.send('much', n)::text)::uuid as much from generate_series(1, 120) as n \gset
select test.end_unread(:'worker', :'much') as word \gset
select count(*) from currant.claim(:'worker', '{starting}', 0, 1) \gset
select results_eq(
    format($$
        select count(*) filter (where i.workflow_id = %L), count(*) filter (where i.workflow_id <> %1$L)
        from currant.inbox as i
        where i.workflow_id in (%1$L, test.holder('much'))
    $$, :'much'),
    $$ values (70::bigint, 50::bigint) $$, 'a claim gives on no more than some signals'
);
select ok(test.comes_back('much', :'much') like 't, unread , left 0', 'the rest follows');
select is(
    test.unread(test.holder('much')), (select string_agg(n::text, ' ' order by n) from generate_series(1, 120) as n),
    'in order'
);

-- The holder ends between being found and being signalled.
select test.send('between', 1) as between \gset
create function test.end_it() returns trigger language plpgsql as $$
begin
    perform currant._end_workflow(
        w.execution_id, 'failed', '{"type": "Timeout"}', currant._now()
    )
    from currant.workflows as w where w.execution_id = new.id;
    return new;
end
$$;
create trigger test_end_it before insert on currant.executions for each row execute function test.end_it();
select test.send('between', 2) as next \gset
drop trigger test_end_it on currant.executions;
select is((currant.status(:'between')).status, 'failed', 'one that ends just when it is found');
select is(test.holder('between'), :'next', 'is replaced by another');
select is(test.unread(:'next'), '2', 'which gets the signal');
select count(*) from currant.claim(:'worker', '{starting}', 0, 1) \gset
select is(test.unread(:'next'), '2 1', 'and in the end what the first one had not read');

-- What is refused is tried again, and a claim does not fail over it.
select test.send('refused', 1) as refused \gset
update currant.inbox set restart = jsonb_set(restart, '{args}', '1') where workflow_id = :'refused';
select test.end_unread(:'worker', :'refused') as word \gset
select currant._now() + interval '1 minute' as in_a_minute \gset
select lives_ok(format($$ select currant.claim(%L, '{starting}', 0, 1) $$, :'worker'), 'a claim goes on');
select is(test.unread(:'refused'), '1', 'the signal is kept');
select is(
    (select min(due_at) from currant.delayed where execution_id = :'refused'), :'in_a_minute'::timestamptz,
    'for later'
);

select * from finish();
rollback;

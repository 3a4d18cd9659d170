-- tick: after a gap (database down, failover) everybody first gets the chance to come back.

begin;

\ir ../lib/helpers.psql

select plan(18);

select test.stop_clock('2030-01-01 00:00:00+00');
select test.worker('gap') as worker \gset
select test.worker('gap') as other \gset
select currant.enqueue('f', '{}', '{"queue": "gap", "timeout": 60}') as id \gset
select currant.enqueue('w', '{}', '{"queue": "gap", "kind": "workflow", "timeout": 60}') as workflow \gset
select test.activate(:'worker', :'workflow', test.command(
    1, 'task', 'f', '{"id": "00000000-0000-7000-8000-0000000000a1", "options": {"queue": "gap_tasks"}}'
)) as word \gset
select token from currant.claim(:'worker', '{gap}', 1) \gset
create function test.ticks(n integer) returns bigint language plpgsql as $$
declare
    _done bigint := 0;
begin
    for _i in 1 .. n loop
        perform test.pass('1 second');
        _done := _done + (currant.tick('recover')).done + (currant.tick('due')).done;
    end loop;
    return _done;
end
$$;
create function test.alive() returns bigint language sql as $$
    select count(*) from currant.workers as w where w.queues @> '{gap}' and w.died_at is null
$$;
select test.ticks(3) as done \gset

-- An hour passes in which nothing could be said by anybody.
select test.pass('1 hour');
select is((currant.tick('recover')).done, 0, 'the first tick after a gap takes nothing from anybody');
select is(test.alive(), 2::bigint, 'nobody is declared dead');
select (currant.tick('due')).done \gset
select is((currant.status(:'id')).status, 'running', 'no attempt is ended');
select is((currant.status(:'workflow')).status, 'suspended', 'no workflow is ended');
select currant.enqueue('f', '{}', '{"queue": "gap_due", "delay": 1}') as due \gset
select test.ticks(5) as done \gset
select is(test.alive(), 2::bigint, 'nor in the seconds after it');
select is((currant.status(:'due')).waits_for, 'a free worker on queue gap_due', 'what is due goes on');
select is_empty(
    format($$ select * from currant.heartbeat(%L, array[%L]::uuid[], array[%s]) $$, :'worker', :'id', :token),
    'a worker that comes back keeps what it has'
);
select is(currant.complete(:'worker', :'id', :token, '1'), 'accepted', 'and completes it');

-- Half a minute of steady ticks: whoever is silent now is dead, whatever is overdue ends.
select test.ticks(20) as done \gset
select is((currant.status(:'workflow')).status, 'suspended', 'deadlines wait for a whole heartbeat timeout');
select currant.heartbeat(:'worker', '{}', '{}') as answer;
select test.ticks(12) as done \gset
select is(
    (select died_at is not null from currant.workers where id = :'other'), true,
    'who has not come back by then is dead'
);
select is((select died_at from currant.workers where id = :'worker'), null, 'who has is not');
select test.ticks(10) as done \gset
select is((currant.status(:'workflow')).status, 'failed', 'and what is overdue ends');

-- A worker with odd settings does not stop this for others.
select currant.register_worker('{"queues": ["gap"], "heartbeat_timeout": 0.1}') as hasty \gset
select currant.register_worker('{"queues": ["gap"], "heartbeat_timeout": "1 day"}') as patient \gset
select currant.register_worker('{"queues": ["gap"]}') as plain \gset
select test.ticks(5) as done \gset
select is(
    (select died_at is not null from currant.workers where id = :'hasty'), true,
    'a timeout shorter than the ticks is kept'
);
select test.ticks(40) as done \gset
select is(
    (select died_at is not null from currant.workers where id = :'plain'), true,
    'so is a usual one beside a long one'
);
select is((select died_at from currant.workers where id = :'patient'), null, 'and the long one');

-- The clock goes back.
select test.worker('gap') as again \gset
select test.pass('-1 hour');
select test.ticks(10) as done \gset
select is((select died_at from currant.workers where id = :'again'), null, 'a clock that goes back kills nobody');
select currant.heartbeat(:'again', '{}', '{}') as answer;
select test.ticks(35) as done \gset
select is(
    (select died_at is not null from currant.workers where id = :'again'), true,
    'but saves nobody for long, either'
);
select is(
    (select ticked_at from currant.ticker), currant._now(), 'the ticker goes by the new time'
);

select * from finish();
rollback;

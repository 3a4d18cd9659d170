-- tick: workers that died, attempts that take too long.

begin;

\ir ../lib/helpers.psql

select plan(31);

select test.stop_clock('2030-01-01 00:00:00+00');
select test.worker('recover') as worker \gset
select test.worker('recover') as healthy \gset
select currant.enqueue('f', '{}', '{"queue": "recover", "retries": 1, "retry_delay": 0}') as id \gset
select token from currant.claim(:'worker', '{recover}', 1) \gset
create function test.recover(healthy uuid) returns integer language plpgsql as $$
begin
    perform currant.heartbeat(healthy, '{}', '{}');
    perform test.keep_steady();
    return (currant.tick('recover')).done;
end
$$;

select test.pass('29 seconds');
select is(test.recover(:'healthy'), 0, 'a worker has its timeout for a heartbeat');
select test.pass('2 seconds');
select is(test.recover(:'healthy'), 1, 'over it, its work is taken from it');
select ok(
    (
        select not is_alive and died_at = '2030-01-01 00:00:31+00'
        from currant.worker_heartbeats where worker_id = :'worker'
    ),
    'and it is declared dead'
);
select is((select died_at from currant.workers where id = :'healthy'), null, 'another is not');
select is(
    (currant.status(:'id')).attempts -> 0 -> 'error' ->> 'type', 'WorkerLost',
    'the attempt was lost with the worker'
);
select matches(
    (currant.status(:'id')).attempts -> 0 -> 'error' ->> 'message',
    'testhost, process 7.*2030-01-01T00:00:00Z', 'which is named'
);
select is(
    currant.complete(:'worker', :'id', :token, '"late"'), 'lost',
    'when it comes back, its completion is refused'
);
select is(currant.fail(:'worker', :'id', :token, '{"type": "E"}'), 'lost', 'so is its failure');
select is(currant.release(:'worker', :'id', :token), 'lost', 'there is nothing to give back');
select throws_ok(
    format($$ select currant.heartbeat(%L, '{}', '{}') $$, :'worker'), 'KR002', null,
    'its heartbeat tells it that it is dead'
);
select throws_ok(format($$ select currant.claim(%L, '{recover}', 1) $$, :'worker'), 'KR002', null, 'it claims nothing');
select is((currant.status(:'id')).status, 'pending', 'the task is to be tried again');
select attempt, token as second from currant.claim(:'healthy', '{recover}', 1) \gset
select is(:attempt, 2, 'by another worker, as the second attempt');
select is(test.recover(:'healthy'), 0, 'as long as that one has a heartbeat, all is well');

-- A task that kills every worker stops.
select test.pass('31 seconds');
select test.worker('recover') as third \gset
select is(test.recover(:'third'), 1, 'the second worker is lost as well');
select is(
    (currant.status(:'id')).status, 'failed',
    'a task that kills its workers fails when its attempts are used up'
);
select is((currant.status(:'id')).error ->> 'type', 'WorkerLost', 'and says why');
select is(currant.complete(:'healthy', :'id', :second, '"late"'), 'lost', 'a completion after that is refused, too');
select is((currant.status(:'id')).result, null, 'and changes nothing');

-- Overdue.
select currant.enqueue('f', '{}', '{"queue": "recover", "retries": 0, "timeout": 10}') as slow \gset
select token from currant.claim(:'third', '{recover}', 1) \gset
select test.pass('14 seconds');
select is(test.recover(:'third'), 0, 'a worker has some grace to end an attempt itself');
select test.pass('2 seconds');
select is(test.recover(:'third'), 1, 'after that the attempt is ended for it');
select is((currant.status(:'slow')).error ->> 'type', 'Timeout', 'as a timeout');
select is(currant.complete(:'third', :'slow', :token, '1'), 'lost', 'what comes later is refused');
select is((select died_at from currant.workers where id = :'third'), null, 'its worker is not dead because of that');
select results_eq(
    format($$ select answer from currant.heartbeat(%L, array[%L]::uuid[], array[%s]) $$, :'third', :'slow', :token),
    array['lost'], 'its heartbeat tells it'
);

-- A task of a workflow: the workflow is told.
select currant.enqueue('w', '{}', '{"queue": "recover_flows", "kind": "workflow"}') as workflow \gset
select test.activate(:'third', :'workflow', test.command(
    1, 'task', 'f', '{"id": "00000000-0000-7000-8000-0000000000a1", "options": {"queue": "recover", "retries": 0}}'
)) as word \gset
select count(*) from currant.claim(:'third', '{recover}', 1) \gset
select test.pass('31 seconds');
select test.worker('recover_flows') as fourth \gset
select is(test.recover(:'fourth'), 1, 'a worker is lost with a task of a workflow');
select is(
    (select inbox -> 0 -> 'payload' ->> 'type' from currant.claim(:'fourth', '{recover_flows}', 0, 1)), 'WorkerLost',
    'the workflow is told'
);

-- The dead are forgotten after an hour.
select test.pass('50 minutes');
select test.recover(:'fourth') as done \gset
select is(
    (select count(*) from currant.worker_heartbeats where worker_id = :'worker'), 1::bigint,
    'the dead are listed for an hour'
);
select test.pass('2 hours');
select test.worker('recover') as fifth \gset
select test.recover(:'fifth') as done \gset
select is(
    (select count(*) from currant.worker_heartbeats where worker_id = :'worker'), 0::bigint,
    'then they are forgotten'
);
select ok(
    (select is_alive from currant.worker_heartbeats where worker_id = :'fifth') is not null,
    'the living are not'
);
select is(
    (
        select count(*) from currant.leases as l
        where not exists (select from currant.workers as w where w.id = l.worker_id)
    ),
    0::bigint, 'nobody is forgotten who still holds something'
);

select * from finish();
rollback;

-- heartbeat: who is alive, what is lost, what is to be cancelled, and what was reported.

begin;

\ir lib/helpers.psql

select plan(16);

select test.stop_clock('2030-01-01 00:00:00+00');
select test.worker('heartbeat') as worker \gset
select currant.enqueue('f', '{}', '{"queue": "heartbeat", "retry_delay": 0}') as id \gset
select token from currant.claim(:'worker', '{heartbeat}', 1) \gset
prepare beat as select answer from currant.heartbeat(:'worker', array[:'id']::uuid[], array[:token]);
select test.pass('10 seconds');

select is_empty('beat', 'as long as all is well there is nothing to say');
select is(
    (select heartbeat_at from currant.worker_heartbeats where worker_id = :'worker'), '2030-01-01 00:00:10+00',
    'the worker counts as alive'
);
select is(
    (select deadline_at from currant.leases where execution_id = :'id'), '2030-01-01 00:05:00+00',
    'a heartbeat does not move a deadline'
);
select is_empty(
    format($$ select * from currant.heartbeat(%L, '{}', '{}') $$, :'worker'), 'an idle worker is alive, too'
);
select results_eq(
    format($$ select answer from currant.heartbeat(%L, array[%L]::uuid[], array[%s]) $$, :'worker', :'id', :token + 1),
    array['lost'], 'a lease that is not its own is lost'
);

select is_empty(
    format(
        $$ select * from currant.heartbeat(%L, array[%L]::uuid[], array[%s], array['{"page": 1}']::jsonb[]) $$,
        :'worker', :'id', :token
    ),
    'a task may report details'
);
select is((currant.status(:'id')).details, '{"page": 1}', 'they are shown');
select is_empty('beat', 'a heartbeat without details');
select is((currant.status(:'id')).details, '{"page": 1}', 'leaves them');
select currant.fail(:'worker', :'id', :token, '{"type": "E"}') as word \gset
select count(*) from currant.heartbeat(
    :'worker', array[:'id']::uuid[], array[:token], array['{"page": 99}']::jsonb[]
) \gset
select token from currant.claim(:'worker', '{heartbeat}', 1) \gset
select is(
    (select details from currant.resume(:'worker')), '{"page": 1}',
    'the next attempt gets them, and nothing from after the lease was lost'
);

deallocate beat;
prepare beat as select answer from currant.heartbeat(:'worker', array[:'id']::uuid[], array[:token]);
select is(currant.cancel(:'id', 'no longer needed'), 'running', 'a running task is asked to stop');
select results_eq('beat', array['cancel'], 'with the next heartbeat its worker is told');
select results_eq('beat', array['cancel'], 'as often as it asks');

select throws_ok(
    format($$ select currant.heartbeat(%L, array[gen_random_uuid()], '{}') $$, :'worker'), '22023', null,
    'there are as many tokens as executions'
);
select throws_ok(
    $$ select currant.heartbeat(gen_random_uuid(), '{}', '{}') $$, 'KR002', null, 'an unknown worker has no heartbeat'
);
update currant.workers set died_at = currant._now() where id = :'worker';
select throws_ok('beat', 'KR002', null, 'neither has one that was declared dead');

select * from finish();
rollback;

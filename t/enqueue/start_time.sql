-- enqueue: delay and run_at.

begin;

\ir ../lib/helpers.psql

select plan(11);

select test.stop_clock('2030-01-01 00:00:00+00');
select test.worker('start_time') as worker \gset

select currant.enqueue('f', '{}', '{"queue": "start_time", "delay": 90}') as later \gset
select is((currant.status(:'later')).due_at, '2030-01-01 00:01:30+00', 'a delay is in seconds');
select is((currant.status(:'later')).waits_for, 'its start time', 'its status says why it waits');
select is_empty(
    format($$ select * from currant.claim(%L, '{start_time}', 10) $$, :'worker'), 'before its time nobody gets it'
);

select currant.enqueue('f', '{}', '{"queue": "start_time", "delay": "2 hours"}') as hours \gset
select is((currant.status(:'hours')).due_at, '2030-01-01 02:00:00+00', 'or an interval');
select currant.enqueue('f', '{}', '{"queue": "start_time", "run_at": "2030-01-01T03:00:00+01:00"}') as at \gset
select is((currant.status(:'at')).due_at, '2030-01-01 02:00:00+00', 'run_at says it as a time');

select test.pass('89 seconds');
select is((currant.tick('due')).done, 0, 'nothing is due before its time');
select is((currant.tick('due')).next_due_in, '1 second', 'tick says how long until then');
select test.pass('1 second');
select is((currant.tick('due')).done, 1, 'at its time it is made ready');
select results_eq(
    format($$ select execution_id from currant.claim(%L, '{start_time}', 10) $$, :'worker'),
    array[:'later'::uuid], 'and can be claimed'
);

select currant.enqueue('f', '{}', '{"queue": "start_time", "run_at": "2020-01-01T00:00:00Z"}') as past \gset
select results_eq(
    format($$ select execution_id from currant.claim(%L, '{start_time}', 10) $$, :'worker'),
    array[:'past'::uuid], 'a time in the past means now'
);

select currant.enqueue('w', '{}', '{"queue": "start_time", "kind": "workflow", "delay": 60}') as workflow \gset
select currant.signal(:'workflow', 'early') as arrival \gset
select is_empty(
    format($$ select * from currant.claim(%L, '{start_time}', 0, 10) $$, :'worker'),
    'a signal does not start a workflow before its time'
);

select * from finish();
rollback;

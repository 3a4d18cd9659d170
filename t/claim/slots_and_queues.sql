-- claim: as much as there are free slots of each kind, from the queues in the order given.

begin;

\ir ../lib/helpers.psql

select plan(17);

select test.stop_clock('2030-01-01 00:00:00+00');
select test.worker('slots_a', 'slots_b') as worker \gset
select currant.enqueue_many(
    'f', array['{"n": 1}', '{"n": 2}', '{"n": 3}']::jsonb[], '{"queue": "slots_a", "timeout": 60}'
);
select currant.enqueue_many('f', array['{"n": 4}', '{"n": 5}']::jsonb[], '{"queue": "slots_b"}');
select currant.enqueue_many('w', array['{"n": 6}', '{"n": 7}']::jsonb[], '{"queue": "slots_b", "kind": "workflow"}');
select currant.enqueue('f', '{}', '{"queue": "slots_c"}') as other \gset

select is_empty(
    format($$ select * from currant.claim(%L, '{slots_a,slots_b}', 0, 0) $$, :'worker'), 'no slots, no work'
);
select is_empty(format($$ select * from currant.claim(%L, '{}', 5, 5) $$, :'worker'), 'no queues, no work');
create temporary table claimed as select * from currant.claim(:'worker', '{slots_b,slots_a}', 4, 1);
select results_eq(
    $$ select args ->> 'n' from claimed where kind = 'task' $$, array['4', '5', '1', '2'],
    'queues are served in the order given, up to the free slots'
);
select results_eq(
    $$ select args ->> 'n' from claimed where kind = 'workflow' $$, array['6'],
    'workflows have slots of their own'
);
select is(claimed_at, '2030-01-01 00:00:00+00', 'a claim says when it was') from claimed where args ->> 'n' = '1';
select is(timeout, '1 minute', 'and how long the attempt may take') from claimed where args ->> 'n' = '1';
select is(
    format('%s of %s', attempt, max_attempts), '1 of 4', 'and which attempt it is of how many'
) from claimed where args ->> 'n' = '1';
select is(last_event, null, 'what belongs to workflows is null for a task') from claimed where args ->> 'n' = '1';
select is(
    format('%s %s %s', last_event, last_command, inbox), '0 0 []', 'a workflow that has not begun has no history'
) from claimed where args ->> 'n' = '6';
select is(count(distinct token), 5::bigint, 'every lease has its own token') from claimed;
select results_eq(
    format($$ select args ->> 'n' from currant.claim(%L, '{slots_a,slots_b}', 10) $$, :'worker'), array['3'],
    'who claims no workflows gets none'
);
select is((currant.status(:'other')).status, 'pending', 'other queues are left alone');

select is((currant.status(execution_id)).status, 'running', 'what is leased is running') from claimed limit 1;
select is((currant.status(execution_id)).worker_id, :'worker', 'its status names the worker') from claimed limit 1;

select throws_ok(
    format($$ select currant.claim(%L, '{slots_a}', -1) $$, :'worker'), '22023', null, 'slots are counted from 0'
);
select throws_ok(
    format($$ select currant.claim(%L, null, 1) $$, :'worker'), '22023', null, 'queues are not null'
);
select throws_ok(
    $$ select currant.claim(gen_random_uuid(), '{slots_a}', 1) $$, 'KR002', null, 'a worker has to be registered'
);

select * from finish();
rollback;

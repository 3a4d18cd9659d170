-- resume: after a lost connection a worker learns what it holds.

begin;

\ir lib/helpers.psql

select plan(9);

select test.worker('resume') as worker \gset
select test.worker('resume') as other \gset
select is_empty(format($$ select * from currant.resume(%L) $$, :'worker'), 'a new worker holds nothing');

select currant.enqueue('f', '{"n": 1}', '{"queue": "resume"}') as task \gset
select currant.enqueue('w', '{"n": 2}', '{"queue": "resume", "kind": "workflow"}') as workflow \gset
create temporary table claimed as select * from currant.claim(:'worker', '{resume}', 5, 5);

select results_eq(
    format($$ select execution_id, token, kind, args, inbox from currant.resume(%L) $$, :'worker'),
    $$ select execution_id, token, kind, args, inbox from claimed $$,
    'resume gives the leases of a claim whose answer was lost'
);
select results_eq(
    format($$ select execution_id, token from currant.resume(%L) $$, :'worker'),
    $$ select execution_id, token from claimed $$, 'as often as it is asked'
);
select is_empty(format($$ select * from currant.resume(%L) $$, :'other'), 'it gives nobody else''s');
select is((select count(rank) from currant.resume(:'worker')), 0::bigint, 'where they stood in the queue is forgotten');

select is(currant.complete(:'worker', :'task', token, '1'), 'accepted', 'an adopted lease is as good as ever')
from claimed where kind = 'task';
select results_eq(
    format($$ select execution_id from currant.resume(%L) $$, :'worker'), array[:'workflow'::uuid],
    'what has ended is not resumed'
);

update currant.workers set died_at = currant._now() where id = :'worker';
select throws_ok(
    format($$ select * from currant.resume(%L) $$, :'worker'), 'KR002', null,
    'a worker declared dead has to register again'
);
select throws_ok($$ select * from currant.resume(gen_random_uuid()) $$, 'KR002', null, 'so has an unknown one');

select * from finish();
rollback;

-- result: of a completed execution, else an error that says why there is none.

begin;

\ir lib/helpers.psql

select plan(7);

select test.worker('result') as worker \gset
select currant.enqueue('f', '{}', '{"queue": "result"}') as id \gset
select throws_ok(format($$ select currant.result(%L) $$, :'id'), 'KR006', null, 'pending: not yet');
select token from currant.claim(:'worker', '{result}', 1) \gset
select throws_ok(format($$ select currant.result(%L) $$, :'id'), 'KR006', null, 'running: not yet');
select currant.complete(:'worker', :'id', :token, '{"answer": 42}') as word \gset
select is(currant.result(:'id'), '{"answer": 42}', 'completed: here it is');

select currant.enqueue('f', '{}', '{"queue": "result", "retries": 0}') as failed \gset
select token from currant.claim(:'worker', '{result}', 1) \gset
select currant.fail(:'worker', :'failed', :token, '{"type": "E", "message": "m"}') as word \gset
select is(
    test.error_of(format($$ select currant.result(%L) $$, :'failed')),
    'KR007 | {"type": "E", "message": "m"} | see its status for the attempts; retry runs it again',
    'failed: the detail is the error'
);
select currant.enqueue('f', '{}', '{"queue": "result"}') as cancelled \gset
select currant.cancel(:'cancelled') as word \gset
select throws_ok(format($$ select currant.result(%L) $$, :'cancelled'), 'KR007', null, 'cancelled: none');
select throws_ok($$ select currant.result(gen_random_uuid()) $$, 'KR004', null, 'unknown: none');
select throws_ok($$ select currant.result(null) $$, 'KR004', null, 'null is unknown');

select * from finish();
rollback;

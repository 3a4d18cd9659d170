-- What has ended never changes, whatever is called afterwards.

begin;

\ir lib/helpers.psql

select plan(11);

select test.stop_clock('2030-01-01 00:00:00+00');
select test.worker('ended') as worker \gset
select count(*) from currant.enqueue_many(
    'f', array_fill('{}'::jsonb, array[4]), '{"queue": "ended", "retries": 0}'
) \gset
select currant.enqueue('w', '{}', '{"queue": "ended", "kind": "workflow"}') as workflow \gset
create temporary table ended as
select execution_id as id, token, row_number() over () as n from currant.claim(:'worker', '{ended}', 3, 1);
select execution_id as fourth from currant.claim(:'worker', '{ended}', 1) \gset
insert into ended select :'fourth', token, 5 from currant.resume(:'worker') where execution_id = :'fourth';
select currant.complete(:'worker', id, token, '1') as word from ended where n = 1 \gset
select currant.fail(:'worker', id, token, '{"type": "E"}') as word from ended where n = 2 \gset
select currant.cancel(id) as word from ended where n = 3 \gset
select currant.release(:'worker', id, token) as word from ended where n = 3 \gset
select currant.advance(
    :'worker', id, token, 0, '{}', jsonb_build_array(test.command(null, 'complete'))
) as word from ended where n = 4 \gset
select test.pass('31 seconds');
select test.keep_steady();
select (currant.tick('recover')).done \gset

create temporary view states as
select e.id, s.status, s.result, s.error, s.attempt, s.started_at, s.finished_at, s.worker_id, s.attempts
from ended as e
cross join lateral currant.status(e.id) as s;
create temporary table before as select * from states;
select results_eq(
    'select b.status from before as b join ended as e using (id) order by e.n',
    array['completed', 'failed', 'cancelled', 'completed', 'failed'], 'five executions have ended in different ways'
);

select test.pass('1 hour');
select test.worker('ended') as other \gset
create function test.words(statement text) returns text[] language plpgsql as $$
declare
    _words text[];
begin
    execute format('select array_agg(distinct (%s)::text) from ended as e', statement) into _words;
    return _words;
end
$$;

select is(
    test.words(format('currant.complete(%L, e.id, e.token, ''"changed"'')', :'worker')), '{already,lost}',
    'complete says so'
);
select is(
    test.words(format('currant.fail(%L, e.id, e.token, ''{"type": "Changed"}'')', :'worker')),
    '{already,lost}', 'fail says so'
);
select is(test.words(format('currant.release(%L, e.id, e.token)', :'other')), '{already,lost}', 'release says so');
select is(test.words('currant.cancel(e.id, ''changed'')'), '{cancelled,completed,failed}', 'cancel says how it ended');
select is(
    test.words(format('currant.advance(%L, e.id, e.token, 0, ''{}'', ''[]'')', :'other')), '{already,lost}',
    'advance says so'
);
select throws_ok(format($$ select currant.signal(%L, 's') $$, :'workflow'), 'KR003', null, 'signal is an error');
select is(
    (
        select array_agg(distinct answer)
        from currant.heartbeat(:'other', array(select id from ended), array(select token from ended))
    ),
    '{lost}', 'a heartbeat knows nothing of it'
);
select is_empty(format($$ select * from currant.claim(%L, '{ended}', 10, 10) $$, :'other'), 'nobody gets it');
select (currant.tick('due')).done, (currant.tick('recover')).done as recovered \gset

select set_eq('select * from states', 'select * from before', 'nothing of it has changed');
select is(
    (select count(*) from currant.ready as r join ended as e on e.id = r.execution_id)
    + (select count(*) from currant.delayed as d join ended as e on e.id = d.execution_id)
    + (select count(*) from currant.leases as l join ended as e on e.id = l.execution_id),
    0::bigint, 'and nothing of it is queued'
);

select * from finish();
rollback;

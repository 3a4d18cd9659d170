-- complete_many, fail_many: look at the leases they are given, and at no others, whatever the statistics say.

begin;

\ir lib/helpers.psql

select plan(6);

create function test.read(name text) returns bigint language sql volatile as $$
    select pg_stat_get_xact_tuples_returned(('currant.' || name)::regclass)
$$;

select test.worker('complete_plan') as worker \gset
-- As of a time when there was nothing.
analyze currant.ready, currant.executions, currant.leases, currant.outcomes;
select count(*) from currant.enqueue_many(
    'f', array(select '{}'::jsonb from generate_series(1, 300)), '{"queue": "complete_plan"}'
) \gset
create temporary table claimed as select * from currant.claim(:'worker', '{complete_plan}', 300);

select test.read('leases_pkey') as by_key, test.read('leases_worker_id_idx') as by_worker, test.read('leases') as whole
\gset
select is(
    (
        select currant.complete_many(
            :'worker', array_agg(c.execution_id), array_agg(c.token), array_agg('1'::jsonb)
        )
        from (select * from claimed order by token limit 100) as c
    ),
    array_fill('accepted'::text, array[100]), 'a hundred of three hundred are completed'
);
select cmp_ok(test.read('leases_pkey') - :by_key, '<=', 110::bigint, 'each lease was found by its key');
select is(test.read('leases_worker_id_idx') - :by_worker, 0::bigint, 'not among all of the worker');
select is(test.read('leases') - :whole, 0::bigint, 'nor in the whole table');

select test.read('leases_pkey') as by_key, test.read('leases_worker_id_idx') as by_worker \gset
select is(
    (
        select currant.fail_many(
            :'worker', array_agg(c.execution_id), array_agg(c.token), array_agg('{"type": "E"}'::jsonb),
            array_agg(null::interval)
        )
        from (select * from claimed order by token offset 100 limit 100) as c
    ),
    array_fill('accepted'::text, array[100]), 'a hundred fail'
);
select is(test.read('leases_worker_id_idx') - :by_worker, 0::bigint, 'and were found in the same way');

select * from finish();
rollback;

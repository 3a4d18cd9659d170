-- claim: reads no more of a backlog than it takes, whatever the statistics say.

begin;

\ir ../lib/helpers.psql

select plan(7);

create function test.read_by_index() returns bigint language sql volatile as $$
    select pg_stat_get_xact_tuples_returned('currant.ready_claim_idx'::regclass)
$$;
create function test.read_whole() returns bigint language sql volatile as $$
    select pg_stat_get_xact_tuples_returned('currant.ready'::regclass)
$$;

-- A new queue each time: the dead entries of an earlier run would be read, too.
select 'plan ' || gen_random_uuid() as queue \gset
select test.worker(:'queue') as worker \gset
analyze currant.ready, currant.executions, currant.leases;
select currant.enqueue_many(
    'f', array_agg('{}'::jsonb), jsonb_build_object('queue', :'queue', 'priority', n % 3)
) from generate_series(1, 6000) as n group by n % 3;

select test.read_by_index() as by_index, test.read_whole() as whole \gset
select is(
    (select count(*) from currant.claim(:'worker', array[:'queue'], 10)), 10::bigint,
    'ten are claimed, with statistics from when the queue was empty'
);
select cmp_ok(
    test.read_by_index() - :by_index, '<=', 20::bigint,
    'about ten entries of the index were read: none were sorted'
);
select is(test.read_whole() - :whole, 0::bigint, 'the table was not scanned');

analyze currant.ready, currant.executions, currant.leases;
select test.read_by_index() as by_index, test.read_whole() as whole \gset
select is(
    (select count(*) from currant.claim(:'worker', array[:'queue'], 10)), 10::bigint,
    'ten more, with statistics of the full queue'
);
select cmp_ok(test.read_by_index() - :by_index, '<=', 50::bigint, 'again the index was read from its beginning only');
select is(test.read_whole() - :whole, 0::bigint, 'and the table was not scanned');

select seq as last_seq, rank as last_rank from currant.claim(:'worker', array[:'queue'], 1500) order by seq desc limit 1 \gset
select test.read_by_index() as by_index \gset
select count(*) from currant.claim(
    :'worker', array[:'queue'], 10, 0,
    format('{"marks": {"%s": {"t": [[%s, %s]]}}}', :'queue', :last_rank, :last_seq)::jsonb
) \gset
select cmp_ok(test.read_by_index() - :by_index, '<=', 20::bigint, 'with a mark the entries of the dead are not read');

select * from finish();
rollback;

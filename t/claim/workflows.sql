-- claim: wake rows of workflows. At most one lease of each, no wake-up lost, none answered twice.

begin;

\ir ../lib/helpers.psql

select plan(17);

select test.worker('wake') as worker \gset
select test.worker('wake') as other \gset
select currant.enqueue('w', '{}', '{"queue": "wake", "kind": "workflow"}') as id \gset
select currant.signal(:'id', 'early', '1') as early \gset
prepare claimed as select execution_id from currant.claim(:'worker', '{wake}', 0, 1);

select results_eq(
    'claimed', array[:'id'::uuid], 'one slot is enough for a workflow that was signalled before it began'
);
select is(
    (select inbox -> 0 ->> 'name' from currant.resume(:'worker')), 'early', 'the signal comes with it'
);
select is_empty(
    format($$ select * from currant.claim(%L, '{wake}', 0, 5) $$, :'other'), 'nobody else gets what is leased'
);
select currant.signal(:'id', 'second', '2') as second \gset
select is_empty(
    format($$ select * from currant.claim(%L, '{wake}', 0, 5) $$, :'other'), 'not even when another event arrives'
);
select is(
    (select currant.advance(:'worker', :'id', token, 0, array[:early], '[]') from currant.resume(:'worker')),
    'accepted', 'its holder commits what it knows of'
);
select results_eq('claimed', array[:'id'::uuid], 'and what arrived meanwhile wakes the workflow again');
select is(
    (select format('%s %s', last_event, jsonb_path_query_array(inbox, '$[*].name')) from currant.resume(:'worker')),
    '2 ["second"]', 'with what it has not applied'
);
select is(
    (select currant.advance(:'worker', :'id', token, 2, array[:second], '[]') from currant.resume(:'worker')),
    'accepted', 'that is committed, too'
);
select is_empty('claimed', 'a workflow with nothing to do is not claimed');
select is((currant.status(:'id')).status, 'suspended', 'it is suspended');

-- Many events, one activation.
select count(currant.signal(:'id', 'many', to_jsonb(n))) from generate_series(1, 20) as n \gset
select results_eq(
    format(
        $$ select jsonb_path_query_array(inbox, '$[*].payload') from currant.claim(%L, '{wake}', 0, 5) $$, :'worker'
    ),
    array[(select jsonb_agg(n) from generate_series(1, 20) as n)],
    'all events that have arrived come with one claim, in the order of their arrival'
);
select is(
    (select count(*) from currant.ready where execution_id = :'id'), 0::bigint, 'which takes all of the wake rows'
);

-- Wake rows of what somebody holds do not hide other work.
select currant.enqueue('w', '{}', '{"queue": "hidden", "kind": "workflow"}') as held \gset
select test.activate(:'worker', :'held') as word \gset
select currant.signal(:'held', 's') as arrival \gset
select count(*) from currant.claim(:'worker', '{hidden}', 0, 1) \gset
select count(currant.signal(:'held', 's')) from generate_series(1, 10) as n \gset
select currant.enqueue('w', '{}', '{"queue": "hidden", "kind": "workflow"}') as behind \gset
select results_eq(
    format($$ select execution_id from currant.claim(%L, '{hidden}', 0, 1) $$, :'other'),
    array[:'behind'::uuid], 'a free slot finds the next workflow behind the wake rows of one that is leased'
);

-- An end leaves nothing behind.
select currant.enqueue('w', '{}', '{"queue": "ends", "kind": "workflow"}') as ends \gset
select is(
    test.activate(:'worker', :'ends', test.command(null, 'complete', null, '{"result": 1}')),
    'accepted', 'a workflow ends in one activation'
);
select is(
    (select count(*) from currant.ready where execution_id = :'ends')
    + (select count(*) from currant.leases where execution_id = :'ends')
    + (select count(*) from currant.workflows where execution_id = :'ends')
    + (select count(*) from currant.inbox where workflow_id = :'ends'),
    0::bigint, 'nothing is left of it but what it did and how it ended'
);
insert into currant.ready (execution_id, queue, rank, attempt, is_workflow) values (:'ends', 'ends', 0, 0, true);
select lives_ok(
    format($$ select * from currant.claim(%L, '{ends}', 0, 5) $$, :'worker'),
    'a claim never raises over a row that should not be there'
);
select is(
    (select count(*) from currant.ready where queue = 'ends'), 0::bigint, 'it removes it'
);

select * from finish();
rollback;

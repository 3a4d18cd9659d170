-- tick: an end that was in flight while a workflow attached is told all the same, and once.

begin;

\ir ../lib/helpers.psql

select plan(19);

select test.stop_clock('2030-01-01 00:00:00+00');
select test.worker('late') as worker \gset
create function test.attached(n integer default 1) returns uuid language plpgsql as $$
declare
    _worker uuid := (select w.id from currant.workers as w where w.queues = '{late}');
    _flow uuid := currant.enqueue('w', '{}', '{"queue": "late", "kind": "workflow"}');
begin
    perform test.activate(_worker, _flow, (
        select jsonb_agg(test.command(
            x, 'attach', null, jsonb_build_object('execution', currant.enqueue('f', '{}', '{"queue": "late_tasks"}'))
        ))
        from generate_series(1, n) as x
    ));
    return _flow;
end
$$;
create function test.target(flow uuid) returns uuid language sql as $$
    select execution_id from currant.watchers where workflow_id = flow
$$;
-- As the trigger of an end in flight, which does not see the attachment yet.
create function test.end_unseen(execution uuid) returns void language plpgsql as $$
begin
    alter table currant.outcomes disable trigger outcomes_notify;
    perform currant.cancel(execution, 'unseen');
    alter table currant.outcomes enable trigger outcomes_notify;
end
$$;
create function test.check(flow uuid) returns text language sql as $$
    select format('%s, attempt %s, %s', d.due_at - currant._now(), d.attempt, case when d.reason is null then 'new' else 'noted' end)
    from currant.delayed as d where d.execution_id = flow and d.kind = 'attach'
$$;

select test.attached() as id \gset
select test.target(:'id') as target \gset
select is(test.check(:'id'), '00:00:01, attempt 0, new', 'an attachment is looked at after a second');
select test.end_unseen(:'target');
select is(test.inbox(:'id'), '[]', 'an end in flight misses it');
select test.pass('1 second');
select is((currant.tick('due')).done, 1, 'it is due');
select is(test.inbox(:'id'), format('[["attached_failed", 1, "%s"]]', :'target')::jsonb, 'the end is found and told');
select is((select count(*) from currant.ready where execution_id = :'id'), 1::bigint, 'and wakes');
select is(
    (select count(*) from currant.watchers where workflow_id = :'id')
    + (select count(*) from currant.delayed where execution_id = :'id'), 0::bigint, 'and that is that'
);

-- As long as a transaction is open that began before (here this one itself), it is looked at again.
select test.attached() as open \gset
select test.pass('1 second');
select currant.tick('due') as ticked \gset
select is(test.check(:'open'), '00:00:01, attempt 1, noted', 'while there may be an end in flight it is looked at again');
select reason from currant.delayed where execution_id = :'open' \gset
select cmp_ok(:'reason'::bigint, '>', pg_current_xact_id()::text::bigint, 'this transaction is below what was noted');
create function test.look(times integer) returns void language plpgsql as $$
begin
    for _i in 1 .. times
    loop
        perform test.pass('100 seconds');
        perform currant.tick('due');
    end loop;
end
$$;
select test.look(8);
select is(test.check(:'open'), '00:01:04, attempt 9, noted', 'in ever longer steps, up to a minute');
select is(
    (select reason from currant.delayed where execution_id = :'open'), :'reason', 'measured from the first look'
);
update currant.delayed set reason = '3' where execution_id = :'open';
select test.pass('100 seconds');
select currant.tick('due') as ticked \gset
select is(test.check(:'open'), null, 'when all of them have ended, no end can have been missed');
select currant.cancel(test.target(:'open')) as word \gset
select is(
    (select array_agg(kind) from currant.inbox where workflow_id = :'open'), array['attached_failed'],
    'later ones see the attachment'
);

-- Told by the trigger, but the row was locked by somebody and stayed.
select test.attached() as told \gset
select test.target(:'told') as target \gset
select currant.cancel(:'target') as word \gset
insert into currant.watchers (execution_id, watching_until, workflow_id, number)
values (:'target', 'infinity', :'told', 1);
select test.pass('1 second');
select currant.tick('due') as ticked \gset
select is(
    (select count(*) from currant.inbox where workflow_id = :'told'), 1::bigint, 'what was told is not told again'
);
select test.activate(:'worker', :'told') as word \gset
insert into currant.watchers (execution_id, watching_until, workflow_id, number)
values (:'target', 'infinity', :'told', 1);
insert into currant.delayed (execution_id, kind, number, due_at) values (:'told', 'attach', 1, currant._now());
select currant.tick('due') as ticked \gset
select is(test.inbox(:'told'), '[]', 'not even when it has been applied');
select is((select count(*) from currant.watchers where workflow_id = :'told'), 0::bigint, 'the row goes');

-- Many, and one whose workflow has ended meanwhile.
select test.attached(20) as many \gset
select test.attached() as gone \gset
select test.target(:'gone') as target \gset
select test.activate(:'worker', :'gone') as word \gset
select count(test.end_unseen(w.execution_id)) from currant.watchers as w where w.workflow_id = :'many' \gset
select test.end_unseen(:'target');
insert into currant.delayed (execution_id, kind, number, due_at) values (:'told', 'attach', 1, currant._now());
select currant.cancel(:'gone', null, '{"force": true}') as word \gset
insert into currant.delayed (execution_id, kind, number, due_at) values (:'gone', 'attach', 1, currant._now());
select test.pass('1 second');
select currant.tick('due') as ticked \gset
select is(
    (select count(distinct number) from currant.inbox where workflow_id = :'many'), 20::bigint, 'each of many is told'
);
select is(
    (select count(*) from currant.inbox where workflow_id = :'gone')
    + (select count(*) from currant.delayed where kind = 'attach'), 0::bigint, 'nobody else is'
);

-- What waits for an end for good is not gone through again and again.
insert into currant.watchers (execution_id, watching_until, workflow_id, number)
select gen_random_uuid(), 'infinity', gen_random_uuid(), 1 from generate_series(1, 3000);
insert into currant.watchers (execution_id, watching_until)
select gen_random_uuid(), currant._now() - interval '1 minute' from generate_series(1, 3);
create function test.read_of_watchers() returns bigint language sql volatile as $$
    select sum(pg_stat_get_xact_tuples_returned(i.id))::bigint
    from unnest(
        '{currant.watchers,currant.watchers_watching_until_idx,currant.watchers_execution_id_idx}'::regclass[]
    ) as i (id)
$$;
select test.read_of_watchers() as before \gset
select currant.tick('recover') \gset
select cmp_ok(test.read_of_watchers() - :before, '<=', 10::bigint, 'a tick reads of those who wait what it removes');
select is(
    (select count(*) from currant.watchers where watching_until < currant._now()), 0::bigint,
    'which is all that have waited long enough'
);

select * from finish();
rollback;

-- step_many: what comes out is what complete, claim and advance would have made, one after the other.

begin;

\ir ../lib/helpers.psql
\ir ../lib/steps.psql

select plan(7);

select test.worker('steps') as worker \gset
select set_config('test.worker', :'worker', true) as worker \gset

-- Completes tasks and goes on; the clock stands still meanwhile, so that the way does not show in the times.
create function test.complete_and_go_on(is_ahead boolean, workflow uuid, tasks uuid[], variadic commands jsonb[])
returns void
language plpgsql
as $$
declare
    _worker uuid := current_setting('test.worker');
    _task uuid;
    _n integer := 0;
begin
    perform currant.claim(_worker, '{steps}', 10);
    perform test.pass('1 second');
    if is_ahead then
        assert test.said(currant.step_many(
            _worker, jsonb_build_array(test.ahead(workflow, tasks, variadic commands) || '{"options": {"version": 3}}'),
            '{"queues": ["steps"], "slots": 10}'
        )) like 'accepted;%';
        return;
    end if;
    foreach _task in array tasks
    loop
        _n := _n + 1;
        assert currant.complete(
            _worker, _task, (select l.token from currant.leases as l where l.execution_id = _task),
            jsonb_build_object('of', _n)
        ) = 'accepted';
    end loop;
    assert test.activate(_worker, workflow, to_jsonb(commands), '{"version": 3}') = 'accepted';
    perform currant.claim(_worker, '{steps}', 10);
end
$$;

create function test.live(is_ahead boolean, n integer) returns void language plpgsql as $$
declare
    _id uuid := test.id(n);
begin
    perform test.stop_clock('2030-01-01 00:00:00+00');
    assert test.begin_flow(
        current_setting('test.worker')::uuid, _id, test.task(1, test.id(n + 1)), test.task(2, test.id(n + 2))
    ) = 'accepted';
    perform test.complete_and_go_on(
        is_ahead, _id, array[test.id(n + 1)],
        test.task(3, test.id(n + 3), 2, '{"headers": {"h": 1}, "priority": 4, "timeout": 9}'),
        test.command(null, 'version', 'change', '{"version": 2}', 2),
        test.command(4, 'side_effect', null, '{"value": 7}', 2)
    );
    perform test.complete_and_go_on(
        is_ahead, _id, array[test.id(n + 3), test.id(n + 2)],
        test.child_command(5, test.id(n + 5), '{"key": "k"}', 3, 'flow'),
        test.child_command(6, test.id(n + 6), '{"on_parent_end": "abandon"}', 3, 'flow'),
        test.command(7, 'timer', null, '{"seconds": 60}', 4), test.task(8, test.id(n + 8), 4),
        test.task(9, test.id(n + 9), 4), test.command(9, 'cancel', null, null, 4),
        test.command(10, 'timer', null, '{"seconds": 60}', 3), test.command(10, 'cancel', null, null, 4),
        test.command(
            11, 'queue', 'other', jsonb_build_object('id', test.id(n + 11), 'options', '{"queue": "steps_other"}'::jsonb), 4
        )
    );
    perform test.complete_and_go_on(is_ahead, _id, array[test.id(n + 8)], test.task(12, test.id(n + 12), 5));
end
$$;

-- What a workflow has come to, without its own id and without the tokens.
create function test.shown(n integer, what text) returns setof text language plpgsql as $$
declare
    _row jsonb;
begin
    for _row in execute what using test.id(n), test.id(n + 1), test.id(n + 99)
    loop
        return next replace(_row::text, '-0000000' || (n / 1000)::text, '-0000000N');
    end loop;
end
$$;
create function test.differences(what text) returns setof text language sql as $$
    (select test.shown(11000, what) except all select test.shown(12000, what))
    union all
    (select test.shown(12000, what) except all select test.shown(11000, what))
$$;

select test.live(true, 11000);
delete from currant.keys where key = 'k';
select test.live(false, 12000);

create temp table looks (what text, sentence text);
insert into looks values
('select to_jsonb(h) from currant.history_entries as h where h.workflow_id = $1', 'the history'),
(
    $$select to_jsonb(e) from currant.executions as e where e.id between $2 and $3$$,
    'what it asked for'
),
(
    $$select to_jsonb(o) - 'token' from currant.outcomes as o where o.execution_id between $2 and $3$$,
    'how that ended'
),
(
    $$select to_jsonb(w) - 'last_token' from currant.workflows as w where w.execution_id between $1 and $3$$,
    'where it is'
),
(
    $$select to_jsonb(d) from currant.delayed as d where d.execution_id between $1 and $3$$, 'its timers'
),
(
    $$select to_jsonb(l) - 'token' from currant.leases as l where l.execution_id between $1 and $3$$, 'what is being run'
);
select is_empty(format('select test.differences(%L)', l.what), l.sentence || ' is the same') from looks as l;
select is((select count(*) from currant.history(test.id(11000))), 20::bigint, 'and there is one');

select * from finish();
rollback;

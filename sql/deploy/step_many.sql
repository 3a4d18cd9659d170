-- Deploy currant:step_many to pg
-- requires: advance
-- requires: complete_many
-- requires: claim

begin;

create or replace function currant._complete_steps(
    worker uuid,
    executions uuid[],
    tokens bigint[],
    results jsonb[],
    now timestamptz
)
returns currant._ended
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set plan_cache_mode = force_generic_plan
set jit = off
as $$
declare
    _ended currant._ended;
begin
    -- No part is larger than the whole.
    if pg_column_size(results) > (select c.max_payload_bytes from currant.configuration as c) then
        perform currant._check_size('result', (select max(pg_column_size(r.value)) from unnest(results) as r (value)));
    end if;
    with held as materialized (
        select l.place, t.result
        from unnest(executions, tokens, results) as t (execution_id, token, result)
        cross join lateral (
            select x.ctid as place
            from currant.leases as x
            where
                x.execution_id = t.execution_id and x.token = t.token and not x.is_workflow
                and (x.worker_id = _complete_steps.worker) is true
            limit 1
            for update skip locked
        ) as l
    ),
    ended as (
        delete from currant.leases as d
        using held as h
        where d.ctid = h.place
        returning d.execution_id, d.token, d.parent_id, d.command_number, d.attempt, d.claimed_at, h.result
    ),
    stored as (
        insert into currant.outcomes (
            execution_id, status, result, attempt, token, worker_id, started_at, finished_at
        )
        select
            e.execution_id, 'completed', coalesce(e.result, 'null'), e.attempt, e.token, _complete_steps.worker,
            e.claimed_at, _complete_steps.now
        from ended as e
    )
    select
        coalesce(array_agg(e.token), '{}'), coalesce(array_agg(e.execution_id), '{}'),
        coalesce(array_agg(e.parent_id), '{}'), coalesce(array_agg(e.command_number), '{}')
    into _ended
    from ended as e;
    return _ended;
end
$$;

comment on function currant._complete_steps(uuid, uuid[], bigint[], jsonb[], timestamptz) is
'Ends tasks as completed, those whose leases the worker holds, and returns these; their parents are not told. Errors: KR005.';

revoke all on function currant._complete_steps(uuid, uuid[], bigint[], jsonb[], timestamptz) from public;

create or replace function currant._accept_ahead(
    activations currant._activation[],
    locked uuid[],
    ended currant._ended,
    now timestamptz
)
returns currant._activation[]
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set plan_cache_mode = force_generic_plan
set jit = off
as $$
declare
    _ids uuid[] := array(select a.execution from unnest(activations) as a);
    _tokens bigint[] := ended.tokens;
    _parents uuid[] := ended.parents;
begin
    return array(
        select
            row(
                a.n, a.execution, null, a.loaded, a.at, a.arrivals, a.ended, a.commands, a.options, a.kinds,
                a.earliest, a.latest, a.last_command, a.final, false, a.loaded + cardinality(a.ended),
                w.is_deadline_armed, false
            )::currant._activation
        from unnest(activations) as a
        cross join lateral (
            select v.last_event, v.first_event, v.last_at, v.version, v.blocked_reason, v.is_deadline_armed
            from currant.workflows as v
            where v.execution_id = a.execution
            limit 1
        ) as w
        where
            a.token is null
            and a.execution = any (locked)
            and a.n = array_position(_ids, a.execution)
            and not exists (
                select from unnest(a.ended) as t (token)
                where _parents[array_position(_tokens, t.token)] is distinct from a.execution
            )
            and w.last_event = a.loaded
            and w.last_event >= w.first_event
            and w.blocked_reason is null
            -- The worker has to guess the time, and its guess does not count if it is far off.
            -- If the clock has been put back, time stands still, as for a claim.
            and a.at between greatest(w.last_at, _accept_ahead.now - interval '10 seconds')
            and greatest(w.last_at, _accept_ahead.now)
            and w.version <= coalesce((a.options ->> 'version')::integer, 1)
            and (select true from currant.leases as l where l.execution_id = a.execution limit 1) is null
            and (select true from currant.inbox as i where i.workflow_id = a.execution limit 1) is null
            and case when a.kinds && array['queue', 'child'] then currant._try_keys(a.commands) else true end
    );
end
$$;

comment on function currant._accept_ahead(
    currant._activation[], uuid[], currant._ended, timestamptz
) is
'Those activations computed ahead that advance their workflows: these are locked, parked, with nothing in their inboxes, and where the worker thought they were, and the tasks that they answer have just been completed.';

revoke all on function currant._accept_ahead(
    currant._activation[], uuid[], currant._ended, timestamptz
) from public;

create or replace function currant.step_many(worker uuid, activations jsonb, direct jsonb default '{}')
returns json
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set plan_cache_mode = force_generic_plan
set jit = off
as $$
declare
    _now timestamptz;
    _asked currant._activation[];
    _locked uuid[];
    _executions uuid[];
    _tokens bigint[];
    _results jsonb[];
    _different bigint;
    _slots integer := 0;
    _queues text[] := array[]::text[];
    _ended currant._ended := row('{}', '{}', '{}', '{}')::currant._ended;
    _accepted currant._activation[] := array[]::currant._activation[];
    _answered bigint[];
    _started json := json '[]';
    _words text[];
begin
    if direct is null or direct <> '{}' then
        if jsonb_typeof(direct) is distinct from 'object' or jsonb_typeof(direct -> 'queues') is distinct from 'array'
            or jsonb_typeof(direct -> 'slots') is distinct from 'number' or (direct ->> 'slots')::numeric % 1 <> 0
            or (direct ->> 'slots')::numeric not between 0 and 1000000
        then
            raise exception using
                errcode = '22023', message = 'direct is not what it has to be',
                detail = format('direct is %s', coalesce(left(direct::text, 200), 'null')),
                hint = 'give an object with queues, an array of texts, and slots, a whole number from 0';
        end if;
        _slots := (direct ->> 'slots')::numeric::integer;
        _queues := array(select q.queue from jsonb_array_elements_text(direct -> 'queues') as q (queue));
    end if;
    perform currant._enter_worker(worker);
    -- The clock is read after that, which may have waited for another call of this worker.
    _now := currant._now();
    _asked := currant._read_activations(activations, true);
    _locked := currant._lock_workflows(_asked);
    select array_agg(c.execution), array_agg(c.token), array_agg(c.result), count(distinct c.token)
    into _executions, _tokens, _results, _different
    from (
        select
            (y.value ->> 'execution')::uuid as execution, (y.value ->> 'token')::bigint as token,
            y.value -> 'result' as result
        from jsonb_array_elements(activations) with ordinality as x (value, n)
        cross join lateral jsonb_array_elements(x.value -> 'completions') with ordinality as y (value, n)
        order by x.n, y.n
    ) as c;
    if _different < cardinality(_tokens) or array_position(_executions, null) is not null then
        raise exception using
            errcode = '22023', message = 'completions are not complete, or there twice',
            detail = format('%s completions, %s different tokens', cardinality(_tokens), _different),
            hint = 'give execution and token of each task once';
    end if;
    if _tokens is not null then
        _ended := currant._complete_steps(worker, _executions, _tokens, _results, _now);
        _accepted := currant._accept_ahead(_asked, _locked, _ended, _now);
    end if;
    _answered := array(select t.token from unnest(_accepted) as a cross join lateral unnest(a.ended) as t (token));
    if exists (select from unnest(_asked) as a where a.token is not null) then
        _accepted := _accepted || currant._accept_leased(worker, _asked, _locked);
    end if;

    if _accepted <> '{}' then
        _started := currant._apply_activations(
            worker, _accepted, _ended, _queues, _slots, _now
        );
    end if;
    if cardinality(_answered) < cardinality(_ended.tokens) then
        perform currant._tell_workflow(t.parent, t.number, t.execution, 'task_completed', null, _now)
        from unnest(_ended.tokens, _ended.executions, _ended.parents, _ended.numbers)
            as t (token, execution, parent, number)
        where t.parent is not null and t.token <> all (_answered);
    end if;
    _words := currant._answers(worker, _asked, _accepted, _locked, _now);
    return json_build_object(
        'words', _words,
        'completed', case
            when _tokens is null then '[]'
            when cardinality(_ended.tokens) = cardinality(_tokens)
                then to_json(array_fill('accepted'::text, array[cardinality(_tokens)]))
            else to_json(currant._words(worker, _executions, _tokens, _ended.tokens))
        end,
        'started', _started
    );
end
$$;

comment on function currant.step_many(uuid, jsonb, jsonb) is
'Commits activations of several workflows in one transaction, of two sorts. Under a lease: objects as advance_many takes them. Ahead: a worker that has the workflow in memory, parked, and completes tasks of it, sends what the workflow makes of their results together with the completions, and so saves the workflow a claim and a commit: an object with completions (an array of objects with execution, token and result, in the order applied) in place of token and arrivals, and at, the time of these events. The completions count by themselves. The activation is accepted only if all of them are, nothing else has happened to the workflow, and at is neither before its last event, nor in the future, nor more than ten seconds ago; else it is refused, the workflow is told of the completions as by complete_many, and the worker has to forget what it computed. direct (optional) is an object with queues and slots: up to so many tasks that these activations ask for in these queues are leased to the worker at once, which is to ask for it only where nothing else is waiting. Returns an object: words (one for each activation: accepted, or refused; under a lease also already, lost, busy, stale, as advance), completed (one word for each completion, in order, as complete_many) and started (the new leases; each an array with execution_id, token, function, version, queue, attempt, max_attempts, args, headers, parent_id, command_number, root_id, created_at, claimed_at, and timeout in seconds). Errors: KR001, KR002, KR005, KR008, 22023; then nothing of the whole call has happened.';

revoke all on function currant.step_many(uuid, jsonb, jsonb) from public;
grant execute on function currant.step_many(uuid, jsonb, jsonb) to currant_worker, currant_admin;

commit;

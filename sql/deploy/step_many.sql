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
returns currant.leases[]
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set jit = off
as $$
declare
    _ended currant.leases[];
begin
    perform currant._check_size('result', (select max(pg_column_size(r.value)) from unnest(results) as r (value)));
    _ended := array(select l from currant._take_leases(worker, executions, tokens, false) as l);
    insert into currant.outcomes (execution_id, status, result, attempt, token, worker_id, started_at, finished_at)
    select
        l.execution_id, 'completed', coalesce(results[array_position(tokens, l.token)], 'null'), l.attempt, l.token,
        l.worker_id, l.claimed_at, _complete_steps.now
    from unnest(_ended) as l;
    return _ended;
end
$$;

comment on function currant._complete_steps(uuid, uuid[], bigint[], jsonb[], timestamptz) is
'Ends tasks as completed, those whose leases the worker holds, and returns these leases; their parents are not told. Errors: KR005.';

revoke all on function currant._complete_steps(uuid, uuid[], bigint[], jsonb[], timestamptz) from public;

create or replace function currant._accept_ahead(
    activations currant._activation[],
    locked uuid[],
    ended currant.leases[],
    tokens bigint[],
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
    _parents uuid[] := array(select l.parent_id from unnest(ended) as l);
begin
    return array(
        select
            row(
                a.n, a.execution, null, a.loaded, a.at, a.arrivals, a.ended, a.commands, a.options, a.kinds,
                a.earliest, a.latest, a.last_command, a.final, false, a.loaded + cardinality(a.ended),
                w.is_deadline_armed, false
            )::currant._activation
        from unnest(activations) as a
        join currant.workflows as w on w.execution_id = a.execution
        where
            a.token is null
            and a.execution = any (locked)
            and a.n = array_position(_ids, a.execution)
            and not exists (
                select from unnest(a.ended) as t (token)
                where _parents[array_position(tokens, t.token)] is distinct from a.execution
            )
            and w.last_event = a.loaded
            and w.last_event >= w.first_event
            and w.blocked_reason is null
            and a.at between w.last_at and _accept_ahead.now
            and w.version <= coalesce((a.options ->> 'version')::integer, 1)
            and (select true from currant.leases as l where l.execution_id = a.execution limit 1) is null
            and (select true from currant.inbox as i where i.workflow_id = a.execution limit 1) is null
            and case when a.kinds && array['queue', 'child'] then currant._try_keys(a.commands) else true end
    );
end
$$;

comment on function currant._accept_ahead(
    currant._activation[], uuid[], currant.leases[], bigint[], timestamptz
) is
'Those activations computed ahead that advance their workflows: these are locked, parked, with nothing in their inboxes, and where the worker thought they were, and the tasks that they answer have been completed, under the given leases.';

revoke all on function currant._accept_ahead(
    currant._activation[], uuid[], currant.leases[], bigint[], timestamptz
) from public;

create or replace function currant.step_many(worker uuid, activations jsonb, direct jsonb default '{}')
returns jsonb
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
    _ended currant.leases[] := array[]::currant.leases[];
    _ended_tokens bigint[] := array[]::bigint[];
    _accepted currant._activation[] := array[]::currant._activation[];
    _answered bigint[];
    _leased currant.leases[] := array[]::currant.leases[];
    _words text[];
begin
    perform currant._enter_worker(worker);
    -- The clock is read after that, which may have waited for another call of this worker.
    _now := currant._now();
    _asked := currant._read_activations(activations);
    _locked := currant._lock_workflows(_asked);
    select
        array_agg((c.value ->> 'execution')::uuid order by x.n, c.n),
        array_agg((c.value ->> 'token')::bigint order by x.n, c.n),
        array_agg(c.value -> 'result' order by x.n, c.n)
    into _executions, _tokens, _results
    from jsonb_array_elements(activations) with ordinality as x (value, n)
    cross join lateral jsonb_array_elements(x.value -> 'completions') with ordinality as c (value, n);
    if _tokens is not null then
        _ended := currant._complete_steps(worker, _executions, _tokens, _results, _now);
        _ended_tokens := array(select l.token from unnest(_ended) as l);
        _accepted := currant._accept_ahead(_asked, _locked, _ended, _ended_tokens, _now);
    end if;
    _answered := array(select t.token from unnest(_accepted) as a cross join lateral unnest(a.ended) as t (token));
    if exists (select from unnest(_asked) as a where a.token is not null) then
        _accepted := _accepted || currant._accept_leased(worker, _asked, _locked);
    end if;

    if _accepted <> '{}' then
        _leased := currant._apply_activations(
            worker, _accepted, _ended, _ended_tokens,
            array(select q.queue from jsonb_array_elements_text(direct -> 'queues') as q (queue)),
            coalesce((direct ->> 'slots')::integer, 0), _now
        );
    end if;
    if cardinality(_answered) < cardinality(_ended_tokens) then
        perform currant._tell_workflow(l.parent_id, l.command_number, l.execution_id, 'task_completed', null, _now)
        from unnest(_ended) as l
        where l.parent_id is not null and l.token <> all (_answered);
    end if;
    _words := currant._answers(worker, _asked, _accepted, _locked, _now);
    return jsonb_build_object(
        'words', _words,
        'completed', case
            when _tokens is null then '[]'
            when cardinality(_ended_tokens) = cardinality(_tokens)
                then to_jsonb(array_fill('accepted'::text, array[cardinality(_tokens)]))
            else to_jsonb(currant._words(worker, _executions, _tokens, _ended_tokens))
        end,
        'started', case
            when _leased = '{}' then '[]'
            else (
                select jsonb_agg(
                    jsonb_build_array(
                        c.execution_id, c.token, c.function, c.version, c.queue, c.attempt, c.max_attempts, c.args,
                        c.headers, c.parent_id, c.command_number, c.root_id, c.created_at, c.claimed_at, extract(epoch from c.timeout)
                    )
                )
                from currant._claimed(
                    worker, array(select l.execution_id from unnest(_leased) as l),
                    array(select l.token from unnest(_leased) as l), null, null
                ) as c
            )
        end
    );
end
$$;

comment on function currant.step_many(uuid, jsonb, jsonb) is
'Commits activations of several workflows in one transaction, of two sorts. Under a lease: objects as advance_many takes them. Ahead: a worker that has the workflow in memory, parked, and completes tasks of it, sends what the workflow makes of their results together with the completions, and so saves the workflow a claim and a commit: an object with completions (an array of objects with execution, token and result, in the order applied) in place of token and arrivals, and at, the time of these events. The completions count by themselves. The activation is accepted only if all of them are, nothing else has happened to the workflow, and at is neither before its last event nor in the future; else it is refused, the workflow is told of the completions as by complete_many, and the worker has to forget what it computed. direct (optional) is an object with queues and slots: up to so many tasks that these activations ask for in these queues are leased to the worker at once, which is to ask for it only where nothing else is waiting. Returns an object: words (one for each activation: accepted, or refused; under a lease also already, lost, busy, stale, as advance), completed (one word for each completion, in order, as complete_many) and started (the new leases; each an array with execution_id, token, function, version, queue, attempt, max_attempts, args, headers, parent_id, command_number, root_id, created_at, claimed_at, and timeout in seconds). Errors: KR001, KR002, KR005, KR008, 22023; then nothing of the whole call has happened.';

revoke all on function currant.step_many(uuid, jsonb, jsonb) from public;
grant execute on function currant.step_many(uuid, jsonb, jsonb) to currant_worker, currant_admin;

commit;

-- Deploy currant:advance to pg
-- requires: apply_activations
-- requires: read_activations
-- requires: release_many
-- requires: enter_worker

begin;

create or replace function currant._try_keys(commands jsonb)
returns boolean
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set jit = off
as $$
begin
    return not exists (
        select from jsonb_array_elements(commands) as c (value)
        where
            c.value ->> 'kind' in ('queue', 'child')
            and not currant._try_key(c.value ->> 'name', c.value -> 'payload' -> 'options' ->> 'key')
    );
end
$$;

comment on function currant._try_keys(jsonb) is
'Whether all idempotency keys that commands ask for can be claimed without waiting for another transaction.';

revoke all on function currant._try_keys(jsonb) from public;

-- Lock order: the workflows' rows, then their leases; both are tried, not waited for. After a row is locked every
-- statement has a fresh snapshot, so an event whose wake row a claim removed in favour of this holder is seen here.
create or replace function currant._lock_workflows(activations currant._activation[])
returns uuid[]
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set plan_cache_mode = force_generic_plan
set jit = off
as $$
begin
    return array(
        select w.execution_id
        from currant.workflows as w
        where w.execution_id = any (array(select a.execution from unnest(activations) as a))
        order by w.execution_id
        for update skip locked
    );
end
$$;

comment on function currant._lock_workflows(currant._activation[]) is
'Locks the rows of workflows that are to be advanced and returns the ids of those that nobody else has locked.';

revoke all on function currant._lock_workflows(currant._activation[]) from public;

-- A key that an application's open transaction has just taken is not waited for; nor is the lease held until it is
-- taken away, as if the worker were lost.
create or replace function currant._decline(
    worker uuid,
    activation currant._activation,
    is_locked boolean,
    now timestamptz
)
returns text
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    _workflow currant.workflows;
    _at timestamptz;
begin
    select w.* into _workflow from currant.workflows as w where w.execution_id = activation.execution;
    if not is_locked then
        return case
            when found then 'busy'
            when exists (
                select from currant.outcomes as o
                where o.execution_id = activation.execution and o.token = activation.token
            ) then 'already'
            else 'lost'
        end;
    end if;
    select l.claimed_at into _at
    from currant.leases as l
    where l.execution_id = activation.execution and l.token = activation.token and l.worker_id = worker
    for update skip locked;
    if not found then
        return case
            when _workflow.last_token = activation.token then 'already'
            when exists (
                select from currant.leases as l
                where
                    l.execution_id = activation.execution and l.token = activation.token
                    and l.worker_id = _decline.worker
            ) then 'busy'
            else 'lost'
        end;
    end if;

    if activation.options ->> 'blocked' is null and _workflow.last_event = activation.loaded
        and not currant._is_end_premature(activation.execution, activation.final, activation.arrivals)
    then
        -- Then it was a key.
        if _at > now - interval '20 seconds' then
            return 'busy';
        end if;
        insert into currant.delayed (execution_id, kind, number, due_at)
        values (
            activation.execution, 'wake', nextval(pg_get_serial_sequence('currant.ready', 'seq')) % 2147483647,
            _decline.now + interval '1 second'
        );
        delete from currant.leases as l
        where l.execution_id = activation.execution and l.token = activation.token;
        return 'refused';
    end if;

    delete from currant.leases as l
    where l.execution_id = activation.execution and l.token = activation.token;
    if activation.options ->> 'blocked' is not null then
        update currant.workflows as w
        set last_token = activation.token
        where w.execution_id = activation.execution;
        perform currant._block_workflow(
            activation.execution, left(activation.options ->> 'blocked', 10000), _decline.now
        );
        return 'accepted';
    end if;
    perform currant._make_ready(activation.execution, 1);
    if _workflow.last_event <> activation.loaded then
        return 'stale';
    end if;
    update currant.workflows as w
    set refused_ends = w.refused_ends + 1
    where w.execution_id = activation.execution;
    return 'refused';
end
$$;

comment on function currant._decline(uuid, currant._activation, boolean, timestamptz) is
'The answer to an activation under a lease that does not advance its workflow, and what follows from it: blocked, run again, or nothing.';

revoke all on function currant._decline(uuid, currant._activation, boolean, timestamptz) from public;

create or replace function currant._is_end_premature(workflow_id uuid, final jsonb, arrivals bigint[])
returns boolean
language plpgsql
stable
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set plan_cache_mode = force_generic_plan
set jit = off
as $$
begin
    return coalesce(final ->> 'kind' <> 'continue_as_new', false) and coalesce(
        (
            select w.refused_ends < 3
            from currant.inbox as i
            cross join lateral (
                select x.refused_ends from currant.workflows as x where x.execution_id = i.workflow_id limit 1
            ) as w
            where
                i.workflow_id = _is_end_premature.workflow_id
                and i.kind in ('signal_received', 'cancel_requested')
                and i.arrival <> all (_is_end_premature.arrivals)
            limit 1
        ),
        false
    );
end
$$;

comment on function currant._is_end_premature(uuid, jsonb, bigint[]) is
'Whether a workflow would end while a signal or a cancellation is unread, and this has not happened too often before.';

revoke all on function currant._is_end_premature(uuid, jsonb, bigint[]) from public;

-- What is looked up for each activation is a lateral sub-select with a limit, here and in all that follows: that is
-- always one probe of the index, where a join may be planned from the table and compare all its rows with all that are
-- given.
create or replace function currant._accept_leased(worker uuid, activations currant._activation[], locked uuid[])
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
    _accepted currant._activation[];
begin
    _accepted := array(
        select
            row(
                a.n, a.execution, a.token, a.loaded, l.claimed_at, a.arrivals, a.ended, a.commands, a.options, a.kinds,
                a.earliest, a.latest, a.last_command, a.final, w.last_event = w.first_event - 1,
                a.loaded + (w.last_event = w.first_event - 1)::integer + cardinality(a.arrivals),
                w.is_deadline_armed, w.blocked_reason is not null
            )::currant._activation
        from unnest(activations) as a
        cross join lateral (
            select v.last_event, v.first_event, v.is_deadline_armed, v.blocked_reason
            from currant.workflows as v
            where v.execution_id = a.execution
            limit 1
        ) as w
        cross join lateral (
            select x.claimed_at
            from currant.leases as x
            where
                x.execution_id = a.execution and x.token = a.token
                and (x.worker_id = _accept_leased.worker) is true
            limit 1
            for update skip locked
        ) as l
        where
            a.token is not null
            and a.execution = any (locked)
            and a.n = array_position(_ids, a.execution)
            and a.options ->> 'blocked' is null
            and w.last_event = a.loaded
            and case
                when a.final is not null
                    then not currant._is_end_premature(a.execution, a.final, a.arrivals)
                else true
            end
            and case when a.kinds && array['queue', 'child'] then currant._try_keys(a.commands) else true end
    );
    delete from currant.leases as l
    where l.ctid = any (array(
        select x.place
        from unnest(_accepted) as a
        cross join lateral (
            select y.ctid as place
            from currant.leases as y
            where y.execution_id = a.execution and y.token = a.token
            limit 1
        ) as x
    ));
    return _accepted;
end
$$;

comment on function currant._accept_leased(uuid, currant._activation[], uuid[]) is
'Those activations whose leases the worker holds, of the workflows it has locked, that advance them. Their leases are deleted.';

revoke all on function currant._accept_leased(uuid, currant._activation[], uuid[]) from public;

create or replace function currant._answers(
    worker uuid,
    asked currant._activation[],
    accepted currant._activation[],
    locked uuid[],
    now timestamptz
)
returns text[]
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    _accepted integer[];
    _words text[] := array[]::text[];
    _one currant._activation;
begin
    if cardinality(accepted) = cardinality(asked) then
        return array_fill('accepted'::text, array[cardinality(asked)]);
    end if;
    _accepted := array(select a.n from unnest(accepted) as a);
    foreach _one in array asked
    loop
        _words := _words || case
            when _one.n = any (_accepted) then 'accepted'
            when _one.token is null then 'refused'
            else currant._decline(worker, _one, _one.execution = any (locked), now)
        end;
    end loop;
    return _words;
end
$$;

comment on function currant._answers(uuid, currant._activation[], currant._activation[], uuid[], timestamptz) is
'One word for each activation that was asked for, in order, after those that are accepted have been applied.';

revoke all on function
currant._answers(uuid, currant._activation[], currant._activation[], uuid[], timestamptz) from public;

create or replace function currant._advance(worker uuid, given jsonb)
returns text[]
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    _now timestamptz := currant._now();
    _asked currant._activation[] := currant._read_activations(given, false);
    _locked uuid[] := currant._lock_workflows(_asked);
    _accepted currant._activation[] := currant._accept_leased(worker, _asked, _locked);
begin
    if _accepted <> '{}' then
        perform currant._apply_activations(worker, _accepted, row('{}', '{}', '{}', '{}'), '{}', 0, _now);
    end if;
    return currant._answers(worker, _asked, _accepted, _locked, _now);
end
$$;

comment on function currant._advance(uuid, jsonb) is
'Commits activations under leases: an array of objects as advance_many takes them. Returns one word for each.';

revoke all on function currant._advance(uuid, jsonb) from public;

create or replace function currant.advance(
    worker uuid,
    execution uuid,
    token bigint,
    last_event integer,
    arrivals bigint[],
    commands jsonb,
    options jsonb default '{}'
)
returns text
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    perform currant._enter_worker(worker);
    if arrivals is null then
        raise exception using
            errcode = '22023', message = 'an activation is not complete',
            detail = 'arrivals is null', hint = 'give an array, empty if nothing has arrived';
    end if;
    return (currant._advance(
        worker,
        jsonb_build_array(
            jsonb_build_object(
                'execution', execution, 'token', token, 'last_event', last_event, 'arrivals', arrivals,
                'commands', commands, 'options', options
            )
        )
    ))[1];
end
$$;

comment on function currant.advance(uuid, uuid, bigint, integer, bigint[], jsonb, jsonb) is
'Commits one activation of a workflow: the events taken from its inbox (arrivals, in the order applied; the first activation of a run has an event of its own, started, before them) and the commands they caused, if the workflow is still at last_event and the token''s lease holds; then what the commands mean is done (tasks, child workflows, timers, attachments, signals, cancels), and the workflow is parked, woken again, continued as new or ended, all in one transaction. Options: started (payload of that event), version (of the code that ran), waits_for (in words, for status), blocked (a reason: nothing is applied, and it is tried again later), unread (with an end: an array of the numbers of those events, signals, that nobody has taken; the ones that enqueue_and_signal sent go to the next workflow). Returns accepted; already (a repeated call); lost (the lease is gone); busy (send it again); refused (it would end, not continue as new, while a signal or a cancellation is unread, or an idempotency key that it asks for has been in somebody''s open transaction for some time: run it again); stale (it is not at last_event: run it again). Errors: KR001, KR002, KR005, KR008, 22023; then nothing has happened.';

revoke all on function currant.advance(uuid, uuid, bigint, integer, bigint[], jsonb, jsonb) from public;
grant execute on function currant.advance(uuid, uuid, bigint, integer, bigint[], jsonb, jsonb)
to currant_worker, currant_admin;

commit;

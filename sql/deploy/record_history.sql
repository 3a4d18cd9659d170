-- Deploy currant:record_history to pg
-- requires: history
-- requires: inbox
-- requires: types
-- requires: leases

begin;

create or replace function currant._record_beginnings(activations currant._activation[])
returns void
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set jit = off
as $$
begin
    insert into currant.history_entries (workflow_id, event, position, kind, payload, at)
    select a.execution, a.loaded + 1, 0, 'started', a.options -> 'started', a.at
    from unnest(_record_beginnings.activations) as a
    where a.begins;
end
$$;

comment on function currant._record_beginnings(currant._activation[]) is
'Writes the first event of those runs that begin with the given activations.';

revoke all on function currant._record_beginnings(currant._activation[]) from public;

create or replace function currant._record_arrivals(
    activations currant._activation[],
    out places integer[],
    out ended_tasks integer[],
    out ended_children integer[]
)
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
    _wanted integer;
    _taken integer;
begin
    with applied as (
        delete from currant.inbox as i
        using unnest(activations) as a
        where i.workflow_id = a.execution and i.arrival = any (a.arrivals)
        returning
            a.n, a.loaded + a.begins::integer + array_position(a.arrivals, i.arrival) as event, a.at,
            i.workflow_id, i.arrival, i.kind, i.number, i.name, i.payload, i.child_id, i.arrived_at, i.restart
    ),
    stored as (
        insert into currant.history_entries (
            workflow_id, event, position, kind, number, name, payload, child_id, at, restart
        )
        select
            x.workflow_id, x.event, 0, x.kind, x.number, x.name, x.payload, x.child_id, x.at,
            x.restart || jsonb_build_object('arrival', x.arrival, 'arrived_at', x.arrived_at)
        from applied as x
    ),
    counted as (
        select
            x.n,
            count(*) as events,
            count(*) filter (where x.kind in ('task_completed', 'task_failed')) as tasks,
            count(*) filter (where x.kind in ('child_completed', 'child_failed')) as children
        from applied as x
        group by x.n
    )
    select array_agg(c.n), array_agg(c.tasks), array_agg(c.children), coalesce(sum(c.events), 0)
    into places, ended_tasks, ended_children, _taken
    from counted as c;
    select coalesce(sum(cardinality(a.arrivals)), 0) into _wanted from unnest(activations) as a;
    if _taken <> _wanted then
        raise exception using
            errcode = '22023', message = 'arrivals are not all in the inbox',
            detail = format('%s of %s found', _taken, _wanted),
            hint = 'give each arrival of the claimed inbox once';
    end if;
end
$$;

comment on function currant._record_arrivals(currant._activation[]) is
'Moves events of workflows from their inboxes to their histories, in the order of each activation''s arrivals. Returns how many of them were ends of tasks, and of child workflows, of the activations in those places. Errors: 22023.';

revoke all on function currant._record_arrivals(currant._activation[]) from public;

create or replace function currant._record_ends(activations currant._activation[], ended currant._ended)
returns void
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set jit = off
as $$
declare
    _tokens bigint[] := ended.tokens;
    _numbers integer[] := ended.numbers;
    _executions uuid[] := ended.executions;
begin
    insert into currant.history_entries (workflow_id, event, position, kind, number, child_id, at)
    select t.execution, t.event, 0, 'task_completed', _numbers[t.place], _executions[t.place], t.at
    from (
        select
            a.execution, a.loaded + a.begins::integer + cardinality(a.arrivals) + x.n as event, a.at,
            array_position(_tokens, x.token) as place
        from unnest(_record_ends.activations) as a
        cross join lateral unnest(a.ended) with ordinality as x (token, n)
        offset 0
    ) as t;
end
$$;

comment on function currant._record_ends(currant._activation[], currant._ended) is
'Writes the completions that activations answer, of the given tasks, into the histories.';

revoke all on function currant._record_ends(currant._activation[], currant._ended) from public;

create or replace function currant._record_commands(commands currant._command[])
returns void
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set jit = off
as $$
begin
    insert into currant.history_entries (
        workflow_id, event, position, kind, number, name, payload, child_id, source, at
    )
    select
        c.workflow_id,
        c.event,
        row_number() over (partition by c.workflow_id, c.event order by c.n),
        c.kind,
        c.number,
        c.name,
        case
            when c.kind in ('task', 'child', 'queue') then c.payload -> 'options'
            when c.kind = 'complete' then null
            else nullif(c.payload, 'null')
        end,
        case
            when c.kind in ('task', 'child', 'queue') then (c.payload ->> 'id')::uuid
            when c.kind = 'attach' then (c.payload ->> 'execution')::uuid
        end,
        c.source,
        c.at
    from unnest(_record_commands.commands) as c;
end
$$;

comment on function currant._record_commands(currant._command[]) is
'Writes commands into the histories of their workflows, behind the events that they name. Arguments are not copied: they are in executions.';

revoke all on function currant._record_commands(currant._command[]) from public;

commit;

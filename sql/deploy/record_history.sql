-- Deploy currant:record_history to pg
-- requires: history
-- requires: inbox

begin;

create or replace function currant._record_events(
    workflow_id uuid,
    last_event integer,
    arrivals bigint[],
    at timestamptz
)
returns integer[]
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    _taken integer;
    _ended integer[];
begin
    with applied as (
        delete from currant.inbox as i
        where i.workflow_id = _record_events.workflow_id and i.arrival = any (_record_events.arrivals)
        returning i.arrival, i.kind, i.number, i.name, i.payload, i.child_id, i.arrived_at, i.restart
    ),
    stored as (
        insert into currant.history_entries (
            workflow_id, event, position, kind, number, name, payload, child_id, at, restart
        )
        select
            _record_events.workflow_id, _record_events.last_event + t.n, 0, a.kind, a.number, a.name, a.payload,
            a.child_id, _record_events.at,
            a.restart || jsonb_build_object('arrival', a.arrival, 'arrived_at', a.arrived_at)
        from unnest(arrivals) with ordinality as t (arrival, n)
        join applied as a on a.arrival = t.arrival
    )
    select
        count(*),
        array[
            count(*) filter (where a.kind in ('task_completed', 'task_failed')),
            count(*) filter (where a.kind in ('child_completed', 'child_failed'))
        ]
    into _taken, _ended
    from applied as a;
    if _taken <> cardinality(arrivals) then
        raise exception using
            errcode = '22023', message = 'arrivals are not all in the inbox',
            detail = format('workflow %s: %s of %s found', workflow_id, _taken, cardinality(arrivals)),
            hint = 'give each arrival of the claimed inbox once';
    end if;
    return _ended;
end
$$;

comment on function currant._record_events(uuid, integer, bigint[], timestamptz) is
'Moves events of a workflow from its inbox to its history, after last_event, in the given order. Returns how many of them were ends of its tasks, and of its child workflows. Errors: 22023.';

revoke all on function currant._record_events(uuid, integer, bigint[], timestamptz) from public;

create or replace function currant._record_commands(workflow_id uuid, commands jsonb, at timestamptz)
returns void
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    insert into currant.history_entries (
        workflow_id, event, position, kind, number, name, payload, child_id, source, at
    )
    select
        _record_commands.workflow_id,
        (c.value ->> 'event')::integer,
        row_number() over (partition by (c.value ->> 'event')::integer order by c.n),
        c.value ->> 'kind',
        (c.value ->> 'number')::integer,
        c.value ->> 'name',
        case
            when c.value ->> 'kind' in ('task', 'child', 'queue') then c.value -> 'payload' -> 'options'
            when c.value ->> 'kind' = 'complete' then null
            else nullif(c.value -> 'payload', 'null')
        end,
        case
            when c.value ->> 'kind' in ('task', 'child', 'queue') then (c.value -> 'payload' ->> 'id')::uuid
            when c.value ->> 'kind' = 'attach' then (c.value -> 'payload' ->> 'execution')::uuid
        end,
        c.value ->> 'source',
        _record_commands.at
    from jsonb_array_elements(commands) with ordinality as c (value, n);
end
$$;

comment on function currant._record_commands(uuid, jsonb, timestamptz) is
'Writes commands into the history of a workflow, behind the events that they name. Arguments are not copied: they are in executions.';

revoke all on function currant._record_commands(uuid, jsonb, timestamptz) from public;

commit;

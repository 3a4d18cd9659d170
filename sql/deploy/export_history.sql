-- Deploy currant:export_history to pg
-- requires: read_history
-- requires: execution_status
-- requires: settings
-- requires: version
-- requires: not_found

begin;

create or replace function currant._iso(at timestamptz)
returns text
language sql
stable
set search_path = pg_catalog, pg_temp
begin atomic
    select to_char(_iso.at at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.US"+00:00"');
end;

comment on function currant._iso(timestamptz) is
'A time in ISO 8601, to the microsecond, in UTC.';

revoke all on function currant._iso(timestamptz) from public;

create or replace function currant._exported_entries(execution uuid, first_event integer)
returns jsonb
language sql
stable
set search_path = pg_catalog, pg_temp
begin atomic
    select coalesce(
        jsonb_agg(
            jsonb_build_object(
                'event', h.event,
                'position', h.position,
                'kind', h.kind,
                'number', h.number,
                'name', h.name,
                'payload', h.payload,
                'args', e.args,
                'execution_id', h.execution_id,
                'source', h.source,
                'at', currant._iso(h.at)
            )
            order by h.event, h.position
        ),
        '[]'
    )
    from currant.history(_exported_entries.execution, _exported_entries.first_event - 1) as h
    left join currant.executions as e on h.kind in ('task', 'child', 'queue') and e.id = h.execution_id;
end;

comment on function currant._exported_entries(uuid, integer) is
'The entries of a history from that event on, with the arguments of what was started.';

revoke all on function currant._exported_entries(uuid, integer) from public;

create or replace function currant.export_history(execution uuid)
returns jsonb
language plpgsql
stable
security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
as $$
declare
    _kind text;
    _first_event integer;
    _continued jsonb;
begin
    select e.kind into _kind from currant.executions as e where e.id = export_history.execution;
    if _kind is null then
        perform currant._raise_not_found(execution);
    elsif _kind = 'task' then
        raise exception using
            errcode = '22023', message = 'a task has no history', detail = format('execution %s is a task', execution),
            hint = 'name a workflow';
    end if;
    -- Not from the workflow's row, which goes when it ends.
    select h.event + 1, h.payload into _first_event, _continued
    from currant.history_entries as h
    where h.workflow_id = export_history.execution and h.kind = 'continue_as_new'
    order by h.event desc
    limit 1;
    _first_event := coalesce(_first_event, 1);

    return (
        select jsonb_build_object(
            'format', 1,
            'currant', currant.version(),
            'hash_seed', c.hash_seed,
            'execution', jsonb_build_object(
                'id', e.id,
                'function', e.function,
                'version', coalesce(w.version, e.version),
                'queue', e.queue,
                'args', coalesce(_continued -> 'args', e.args),
                'headers', e.headers,
                'parent_id', e.parent_id,
                'root_id', e.root_id,
                'created_at', currant._iso(e.created_at),
                'status', s.status,
                'first_event', _first_event
            ),
            'entries', currant._exported_entries(e.id, _first_event)
        )
        from currant.executions as e
        join currant.execution_status as s on s.id = e.id
        cross join currant.configuration as c
        left join currant.workflows as w on w.execution_id = e.id
        where e.id = export_history.execution
    );
end
$$;

comment on function currant.export_history(uuid) is
'Everything that is needed to replay a workflow elsewhere, in one JSON document: {"format": 1, "currant": version of the schema, "hash_seed", "execution": {"id", "function", "version", "queue", "args", "headers", "parent_id", "root_id", "created_at", "status", "first_event"}, "entries": [{"event", "position", "kind", "number", "name", "payload", "args", "execution_id", "source", "at"}, …]}. The entries are those of history, of the run since it last continued as new, to which args and first_event belong; args of an entry are the arguments of what that command started. Of a workflow that has not begun there are no entries. Errors: KR004, 22023 (it is a task).';

revoke all on function currant.export_history(uuid) from public;
grant execute on function currant.export_history(uuid) to currant_worker, currant_observer, currant_admin;

commit;

-- Deploy currant:read_history to pg
-- requires: history
-- requires: outcomes
-- requires: types

begin;

create or replace function currant.history(execution uuid, after_event integer default 0)
returns setof currant.history_entry
language sql
stable
security definer
set search_path = pg_catalog, pg_temp
begin atomic
    select
        h.event, h.position, h.kind, h.number, h.name,
        case
            when h.kind in ('task_completed', 'child_completed', 'attached_completed') then o.result
            else h.payload
        end,
        h.child_id, h.source, h.at
    from currant.history_entries as h
    left join currant.outcomes as o
        on h.kind in ('task_completed', 'child_completed', 'attached_completed') and o.execution_id = h.child_id
    where h.workflow_id = history.execution and h.event > history.after_event
    order by h.event, h.position;
end;

comment on function currant.history(uuid, integer) is
'The history of a workflow after the given event, in order: each event (position 0) followed by the commands it caused. Empty for a task, an unknown id, or a workflow that has not begun.';

revoke all on function currant.history(uuid, integer) from public;
grant execute on function currant.history(uuid, integer) to currant_worker, currant_observer, currant_admin;

commit;

-- Deploy currant:continue_as_new to pg
-- requires: end_workflow
-- requires: release_many
-- requires: attach

begin;

create or replace function currant._continue_as_new(execution_id uuid, at timestamptz)
returns void
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    _first_command integer;
    _open integer;
begin
    select w.first_command into _first_command
    from currant.workflows as w
    where w.execution_id = _continue_as_new.execution_id;
    update currant.workflows as w
    set
        first_event = w.last_event + 1,
        first_command = w.last_command + 1,
        used = interval '0',
        active_since = null,
        is_deadline_armed = false,
        has_attached = false,
        waits_for = null
    where w.execution_id = _continue_as_new.execution_id
    returning w.open_tasks + w.open_children into _open;
    delete from currant.delayed as d
    where d.ctid = any (array(
        select c.ctid from currant.delayed as c
        where c.execution_id = _continue_as_new.execution_id and c.kind in ('timer', 'deadline')
        for update skip locked
    ));
    perform currant._detach(execution_id, null);
    -- A request that this run has heard of is settled with it, and the next one is to be heard again. In one statement,
    -- because a request is a row in both tables.
    delete from currant.cancels as c
    where
        c.execution_id = _continue_as_new.execution_id
        and not exists (
            select from currant.inbox as i
            where i.workflow_id = _continue_as_new.execution_id and i.kind = 'cancel_requested'
        );
    if _open > 0 then
        perform currant._cancel_children(
            array[execution_id], _first_command, 'the workflow has continued as new', at
        );
    end if;
    perform currant._make_ready(execution_id, 1);
end
$$;

comment on function currant._continue_as_new(uuid, timestamptz) is
'Begins a new run of a workflow, whose row the caller has locked and brought up to the last event of the old one: with its own time, without the timers, attachments and children of the old run (except those that are to outlive it), and with everything that is still in the inbox.';

revoke all on function currant._continue_as_new(uuid, timestamptz) from public;

commit;

-- Deploy currant:tell_workflow to pg
-- requires: inbox
-- requires: workflows
-- requires: ready
-- requires: outcomes

begin;

-- Inserts only, so that whoever ends an execution waits for nobody, and in one statement, so that both rows are there
-- or none. A workflow that ends meanwhile leaves a row in the inbox of nobody; the claim that meets its wake row
-- removes both.
create or replace function currant._tell_workflow(
    workflow_id uuid,
    number integer,
    execution_id uuid,
    kind text,
    payload jsonb,
    at timestamptz
)
returns void
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    with open as (
        select w.execution_id, w.queue, w.rank
        from currant.workflows as w
        where w.execution_id = _tell_workflow.workflow_id
    ),
    told as (
        insert into currant.inbox (workflow_id, kind, number, payload, child_id, arrived_at)
        select
            o.execution_id, _tell_workflow.kind, _tell_workflow.number, _tell_workflow.payload,
            _tell_workflow.execution_id, _tell_workflow.at
        from open as o
    )
    insert into currant.ready (execution_id, queue, rank, attempt, is_workflow)
    select o.execution_id, o.queue, o.rank, 0, true
    from open as o;
end
$$;

comment on function currant._tell_workflow(uuid, integer, uuid, text, jsonb, timestamptz) is
'Puts the end of an execution into the inbox of a workflow that waits for it under that command number, if the workflow is still open, and wakes it.';

revoke all on function currant._tell_workflow(uuid, integer, uuid, text, jsonb, timestamptz) from public;

create or replace function currant._tell_end(
    workflow_id uuid,
    number integer,
    execution_id uuid,
    what text,
    at timestamptz
)
returns void
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    perform currant._tell_workflow(
        workflow_id, number, o.execution_id,
        what || case when o.status = 'completed' then '_completed' else '_failed' end,
        o.error || jsonb_build_object('status', o.status, 'attempts', o.attempt),
        at
    )
    from currant.outcomes as o
    where o.execution_id = _tell_end.execution_id;
end
$$;

comment on function currant._tell_end(uuid, integer, uuid, text, timestamptz) is
'Tells a workflow of the end of an execution as its outcome says: what is task, child or attached. A result is not copied: it is read from the outcome.';

revoke all on function currant._tell_end(uuid, integer, uuid, text, timestamptz) from public;

commit;

-- Deploy currant:attach to pg
-- requires: tell_workflow
-- requires: executions
-- requires: outcomes
-- requires: watchers
-- requires: delayed
-- requires: history
-- requires: workflows
-- requires: now

begin;

-- The trigger on outcomes tells whoever is in watchers. An end in flight whose trigger ran before the attachment was
-- committed does not see it, and is not seen here: the row in delayed is for looking again.
create or replace function currant._attach(
    workflow_id uuid,
    number integer,
    execution uuid,
    at timestamptz
)
returns void
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    _error jsonb;
begin
    if not exists (select from currant.executions as e where e.id = _attach.execution) then
        _error := jsonb_build_object(
            'type', 'ExecutionNotFound', 'message', format('there is no execution %s', coalesce(execution::text, 'null'))
        );
    elsif exists (
        with recursive line as (
            select e.id, e.parent_id
            from currant.executions as e
            where e.id = _attach.workflow_id
            union all
            select e.id, e.parent_id
            from line as l
            join currant.executions as e on e.id = l.parent_id
        )
        select from line as l where l.id = _attach.execution
    ) then
        _error := jsonb_build_object(
            'type', 'OwnAncestor',
            'message', format(
                'execution %s is %s: waiting for its end would never end', execution,
                case when execution = workflow_id then 'the workflow itself' else 'an ancestor of the workflow' end
            )
        );
    end if;
    if _error is not null then
        perform currant._tell_workflow(
            workflow_id, number, execution, 'attached_failed',
            _error || jsonb_build_object('retryable', false, 'status', 'failed', 'attempts', 0), at
        );
    elsif exists (select from currant.outcomes as o where o.execution_id = _attach.execution) then
        perform currant._tell_end(workflow_id, number, execution, 'attached', at);
    else
        insert into currant.watchers (execution_id, watching_until, workflow_id, number)
        values (_attach.execution, 'infinity', _attach.workflow_id, _attach.number);
        insert into currant.delayed (execution_id, kind, number, due_at, attempt)
        values (_attach.workflow_id, 'attach', _attach.number, _attach.at + interval '1 second', 0);
        update currant.workflows as w
        set has_attached = true
        where w.execution_id = _attach.workflow_id and not w.has_attached;
    end if;
end
$$;

comment on function currant._attach(uuid, integer, uuid, timestamptz) is
'Has a workflow told of the end of another execution, as attached_completed or attached_failed: at once if that has ended, does not exist, or is the workflow itself or an ancestor of it. Nothing keeps two workflows from attaching to each other: both then wait until one is signalled or cancelled.';

revoke all on function currant._attach(uuid, integer, uuid, timestamptz) from public;

create or replace function currant._detach(workflow_id uuid, number integer)
returns void
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    delete from currant.watchers as w
    where w.ctid = any (array(
        select c.ctid from currant.watchers as c
        where
            c.workflow_id = _detach.workflow_id
            and c.number between coalesce(_detach.number, 0) and coalesce(_detach.number, 2147483647)
        for update skip locked
    ));
    delete from currant.delayed as d
    where d.ctid = any (array(
        select c.ctid from currant.delayed as c
        where
            c.execution_id = _detach.workflow_id and c.kind = 'attach'
            and c.number between coalesce(_detach.number, 0) and coalesce(_detach.number, 2147483647)
        for update skip locked
    ));
end
$$;

comment on function currant._detach(uuid, integer) is
'Takes back an attachment of a workflow, or all of them if no number is given. An end that is just being told may still arrive.';

revoke all on function currant._detach(uuid, integer) from public;

-- The number of a subtransaction, which is given out now; what a snapshot calls its end may be less than that of a
-- transaction already begun. The row is only there to have the number, and is undone.
create or replace function currant._next_transaction()
returns xid8
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    _own bigint := pg_current_xact_id()::text::bigint;
    _next bigint;
begin
    begin
        insert into currant.watchers as w (execution_id, watching_until)
        values (gen_random_uuid(), '-infinity')
        returning w.xmin::text::bigint into _next;
        raise exception using errcode = 'KR099', message = 'the number is known';
    exception when sqlstate 'KR099' then
        null;
    end;
    return (_own + (_next - _own % 4294967296 + 4294967296) % 4294967296)::text::xid8;
end
$$;

comment on function currant._next_transaction() is
'A number above that of every transaction that has one so far.';

revoke all on function currant._next_transaction() from public;

-- Every transaction in flight at the first look may be one that ended the execution without seeing the attachment; one
-- that gets its number later sees it. So the first look notes that number, and the last one comes when nobody below it
-- is left. The snapshot that says so is the one that the outcome is looked for in.
create or replace function currant._check_attachment(
    workflow_id uuid,
    number integer,
    attempt integer,
    first_to_see text,
    at timestamptz
)
returns void
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    _execution uuid;
    _has_ended boolean;
    _oldest xid8;
begin
    select
        w.execution_id,
        exists (select from currant.outcomes as o where o.execution_id = w.execution_id),
        pg_snapshot_xmin(pg_current_snapshot())
    into _execution, _has_ended, _oldest
    from currant.watchers as w
    where w.workflow_id = _check_attachment.workflow_id and w.number = _check_attachment.number;
    if not found or (not _has_ended and _oldest >= first_to_see::xid8) then
        return;
    end if;
    if _has_ended then
        delete from currant.watchers as w
        where w.ctid = any (array(
            select c.ctid from currant.watchers as c
            where c.workflow_id = _check_attachment.workflow_id and c.number = _check_attachment.number
            for update skip locked
        ));
        -- The trigger tells without the row's lock, and leaves the row if somebody else has that.
        if found then
            if not currant._is_told(workflow_id, number) then
                perform currant._tell_end(workflow_id, number, _execution, 'attached', at);
            end if;
            return;
        end if;
    end if;
    insert into currant.delayed (execution_id, kind, number, due_at, attempt, reason)
    values (
        _check_attachment.workflow_id, 'attach', _check_attachment.number,
        _check_attachment.at + make_interval(secs => 2 ^ least(_check_attachment.attempt, 6)),
        _check_attachment.attempt + 1, coalesce(_check_attachment.first_to_see, currant._next_transaction()::text)
    );
end
$$;

comment on function currant._check_attachment(uuid, integer, integer, text, timestamptz) is
'Tells a workflow of an end that was in flight when it attached; looks again later as long as there may be one.';

revoke all on function currant._check_attachment(uuid, integer, integer, text, timestamptz) from public;

create or replace function currant._is_told(workflow_id uuid, number integer)
returns boolean
language sql
stable
set search_path = pg_catalog, pg_temp
begin atomic
    select
        exists (
            select from currant.inbox as i
            where
                i.workflow_id = _is_told.workflow_id and i.number = _is_told.number
                and i.kind in ('attached_completed', 'attached_failed')
        )
        or exists (
            select from currant.history_entries as h
            where
                h.workflow_id = _is_told.workflow_id and h.number = _is_told.number and h.position = 0
                and h.kind in ('attached_completed', 'attached_failed')
        );
end;

comment on function currant._is_told(uuid, integer) is
'Whether the end of what the workflow attached to under that number is in its inbox or history.';

revoke all on function currant._is_told(uuid, integer) from public;

commit;

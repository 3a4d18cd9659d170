-- Deploy currant:carry_out to pg
-- requires: end_workflow
-- requires: request_cancel
-- requires: enqueue_many
-- requires: signal
-- requires: payload
-- requires: attach
-- requires: start_children
-- requires: keys

begin;

create or replace function currant._cancel_command(workflow_id uuid, number integer, at timestamptz)
returns void
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    _child uuid;
begin
    delete from currant.delayed as d
    where d.ctid = any (array(
        select c.ctid from currant.delayed as c
        where
            c.execution_id = _cancel_command.workflow_id and c.kind = 'timer' and c.number = _cancel_command.number
        for update skip locked
    ));
    if found then
        return;
    end if;
    select e.id into _child
    from currant.executions as e
    where e.parent_id = _cancel_command.workflow_id and e.command_number = _cancel_command.number;
    if found then
        perform currant._request_cancel(_child, 'cancelled by its workflow', at);
    else
        perform currant._detach(workflow_id, number);
    end if;
end
$$;

comment on function currant._cancel_command(uuid, integer, timestamptz) is
'Takes back what a workflow asked for under that number: a timer goes, a task or child workflow is cancelled, an attachment ends and the other execution is left alone.';

revoke all on function currant._cancel_command(uuid, integer, timestamptz) from public;

create or replace function currant._target(execution uuid)
returns uuid
language sql
stable
set search_path = pg_catalog, pg_temp
begin atomic
    select coalesce(currant._key_holder('', 'queued ' || _target.execution), _target.execution);
end;

comment on function currant._target(uuid) is
'The execution that a workflow means. It knows what it queued by an id of its own, but if another execution had the idempotency key by then, that one counts, also when it has ended and the key has gone to yet another.';

revoke all on function currant._target(uuid) from public;

create or replace function currant._start_keyed_child(workflow_id uuid, command jsonb, at timestamptz)
returns void
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    _id uuid := (command -> 'payload' ->> 'id')::uuid;
    _options jsonb := command -> 'payload' -> 'options';
    _holder uuid;
begin
    perform currant._check_options(
        _options, currant._enqueue_options(array['key', 'key_scope', 'on_parent_end'])
    );
    _holder := currant._claim_key(
        command ->> 'name', _options ->> 'key', _id, coalesce(_options ->> 'key_scope', 'always') = 'open'
    );
    if _holder <> _id then
        perform currant._attach(workflow_id, (command ->> 'number')::integer, _holder, at);
        return;
    end if;
    perform currant._start_children(
        array[
            row(
                workflow_id, at, null, null, 'child', (command ->> 'number')::integer, command ->> 'name', null,
                command -> 'payload'
            )::currant._command
        ],
        null, '{}', 0, at
    );
    update currant.workflows as w
    set open_children = w.open_children + 1
    where w.execution_id = _start_keyed_child.workflow_id;
end
$$;

comment on function currant._start_keyed_child(uuid, jsonb, timestamptz) is
'Creates a child workflow with an idempotency key, or, if another execution has the key, attaches to that.';

revoke all on function currant._start_keyed_child(uuid, jsonb, timestamptz) from public;

create or replace function currant._carry_out(
    workflow_id uuid,
    commands jsonb,
    is_last boolean,
    at timestamptz
)
returns void
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    _command jsonb;
    _payload jsonb;
    _id uuid;
    _holder uuid;
    _keyed integer[] := currant._keyed_to_start(commands, is_last);
begin
    -- In the order given: of several with one idempotency key the first is to get it.
    for _command in
        select c.value
        from jsonb_array_elements(commands) with ordinality as c (value, n)
        where
            c.value ->> 'kind' in ('cancel', 'queue', 'signal', 'request_cancel')
            or (c.value ->> 'kind' = 'attach' and not is_last)
            or (c.value ->> 'kind' = 'child' and (c.value ->> 'number')::integer = any (_keyed))
        order by c.n
    loop
        _payload := _command -> 'payload';
        case _command ->> 'kind'
            when 'cancel' then
                perform currant._cancel_command(workflow_id, (_command ->> 'number')::integer, at);
            when 'child' then
                perform currant._start_keyed_child(workflow_id, _command, at);
            when 'attach' then
                perform currant._attach(
                    workflow_id, (_command ->> 'number')::integer,
                    currant._target((_payload ->> 'execution')::uuid), at
                );
            when 'queue' then
                perform currant._check_options(
                    coalesce(_payload -> 'options', '{}'), currant._enqueue_options(array['key', 'key_scope'])
                );
                _id := (_payload ->> 'id')::uuid;
                _holder := (currant._enqueue(
                    _command ->> 'name',
                    array[coalesce(_payload -> 'args', '{}')],
                    coalesce(_payload -> 'options', '{}') - 'key',
                    array[_id],
                    case
                        when _payload -> 'options' ->> 'key' is not null then array[_payload -> 'options' ->> 'key']
                    end,
                    'default'
                ))[1];
                if _holder <> _id then
                    insert into currant.keys (function, key, execution_id) values ('', 'queued ' || _id, _holder);
                end if;
            when 'signal' then
                perform currant._check_signal_name(_command ->> 'name');
                perform currant._check_size('payload', pg_column_size(_payload -> 'payload'));
                perform currant._deliver(
                    coalesce(
                        currant._target((_payload ->> 'execution')::uuid),
                        currant._key_holder(_payload ->> 'function', _payload ->> 'key')
                    ),
                    _command ->> 'name', coalesce(_payload -> 'payload', 'null'), (_payload ->> 'id')::uuid
                );
            when 'request_cancel' then
                perform currant._check_size('reason', octet_length(_payload ->> 'reason'));
                perform currant._request_cancel(
                    currant._target((_payload ->> 'execution')::uuid), _payload ->> 'reason', at
                );
        end case;
    end loop;
end
$$;

comment on function currant._carry_out(uuid, jsonb, boolean, timestamptz) is
'Does what a workflow''s commands say, except what is done for many at once (timers, and creating what needs no idempotency key) and ending it: attachments, cancels, child workflows with a key, independent executions, signals to others (one to a workflow that has ended goes nowhere). In a run''s last commit no attachment is made.';

revoke all on function currant._carry_out(uuid, jsonb, boolean, timestamptz) from public;

commit;

-- Deploy currant:signal to pg
-- requires: inbox
-- requires: workflows
-- requires: ready
-- requires: outcomes
-- requires: executions
-- requires: keys
-- requires: enqueue_many
-- requires: policy
-- requires: payload
-- requires: roles
-- requires: not_found

begin;

create or replace function currant._deliver(
    execution uuid,
    name text,
    payload jsonb,
    signal_id uuid,
    restart jsonb default null
)
returns bigint
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    _arrival bigint;
    _queue text;
    _rank integer;
begin
    select w.queue, w.rank into _queue, _rank
    from currant.workflows as w
    where w.execution_id = _deliver.execution;
    if not found then
        return null;
    end if;
    _arrival := nextval(pg_get_serial_sequence('currant.inbox', 'arrival'));
    if signal_id is not null then
        insert into currant.signal_ids as s (workflow_id, signal_id, arrival)
        values (_deliver.execution, _deliver.signal_id, _arrival)
        on conflict on constraint signal_ids_pkey do nothing;
        if not found then
            select s.arrival into _arrival
            from currant.signal_ids as s
            where s.workflow_id = _deliver.execution and s.signal_id = _deliver.signal_id;
            return _arrival;
        end if;
    end if;
    insert into currant.inbox (workflow_id, arrival, kind, name, payload, restart, arrived_at)
    overriding system value
    values (
        _deliver.execution, _arrival, 'signal_received', _deliver.name, _deliver.payload, _deliver.restart,
        currant._now()
    );
    insert into currant.ready (execution_id, queue, rank, attempt, is_workflow)
    values (_deliver.execution, _queue, _rank, 0, true);
    return _arrival;
end
$$;

comment on function currant._deliver(uuid, text, jsonb, uuid, jsonb) is
'Puts a signal into the inbox of an open workflow and wakes it; null if there is no such open workflow. restart says what to start for it if the workflow ends without having read it. Inserts only.';

revoke all on function currant._deliver(uuid, text, jsonb, uuid, jsonb) from public;

create or replace function currant._check_signal_name(name text)
returns void
language plpgsql
immutable
set search_path = pg_catalog, pg_temp
as $$
begin
    if name is null or length(name) not between 1 and 500 then
        raise exception using
            errcode = '22023', message = 'a signal name is needed', detail = 'name is empty or over 500 characters',
            hint = 'give the name that the workflow waits for';
    end if;
end
$$;

comment on function currant._check_signal_name(text) is
'Refuses a signal without a name, or with a very long one. Errors: 22023.';

revoke all on function currant._check_signal_name(text) from public;

create or replace function currant._signal_id(id text, key text)
returns uuid
language plpgsql
immutable
set search_path = pg_catalog, pg_temp
as $$
begin
    if id is not null and key is not null then
        raise exception using
            errcode = '22023', message = 'a signal has an id or a key, not both',
            detail = format('id %s, key %s', id, left(key, 200)), hint = 'give one of them';
    end if;
    return coalesce(id::uuid, encode(substring(sha256(convert_to(key, 'UTF8')) for 16), 'hex')::uuid);
end
$$;

comment on function currant._signal_id(text, text) is
'What repeated calls with the same signal are recognised by: the id, or a digest of the key; null without either. Errors: 22023.';

revoke all on function currant._signal_id(text, text) from public;

-- Two calls with one id are kept apart by the unique index, which has the second wait for the first one's commit. A
-- claim that gives a signal to another workflow must not wait for an application: it tries this lock, which they hold.
create or replace function currant._hold_signal_id(signal_id uuid)
returns void
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    if signal_id is not null then
        perform pg_advisory_xact_lock_shared(1262506572, currant._key_bucket('', signal_id::text) & 255);
    end if;
end
$$;

comment on function currant._hold_signal_id(uuid) is
'Lets a claim know that a signal with that id may be in flight; null is no id.';

revoke all on function currant._hold_signal_id(uuid) from public;

create or replace function currant._try_signal_id(signal_id uuid)
returns boolean
language sql
volatile
set search_path = pg_catalog, pg_temp
begin atomic
    select
        signal_id is null
        or pg_try_advisory_xact_lock(1262506572, currant._key_bucket('', signal_id::text) & 255);
end;

comment on function currant._try_signal_id(uuid) is
'Whether a signal with that id can be delivered without waiting for another transaction; from then on others wait for this one. Now and then no because of another id.';

revoke all on function currant._try_signal_id(uuid) from public;

create or replace function currant._key_holder(function text, key text)
returns uuid
language sql
stable
set search_path = pg_catalog, pg_temp
begin atomic
    select k.execution_id
    from currant.keys as k
    where k.function = _key_holder.function and k.key = _key_holder.key;
end;

comment on function currant._key_holder(text, text) is
'The execution that an idempotency key stands for, null if there is none.';

revoke all on function currant._key_holder(text, text) from public;

create or replace function currant._not_delivered(execution uuid, signal_id uuid)
returns bigint
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
declare
    _arrival bigint;
    _kind text;
    _status text;
begin
    -- A repeated call whose first one was delivered is no error.
    select s.arrival into _arrival
    from currant.signal_ids as s
    where s.workflow_id = _not_delivered.execution and s.signal_id = _not_delivered.signal_id;
    if found then
        return _arrival;
    end if;
    select e.kind, o.status into _kind, _status
    from currant.executions as e
    left join currant.outcomes as o on o.execution_id = e.id
    where e.id = _not_delivered.execution;
    if _kind is null then
        perform currant._raise_not_found(execution);
    elsif _kind = 'task' then
        raise exception using
            errcode = '22023', message = 'a task takes no signals', detail = format('execution %s is a task', execution),
            hint = 'signals are for workflows';
    end if;
    raise exception using
        errcode = 'KR003', message = format('workflow has already ended: %s', _status),
        detail = format('execution %s', execution), hint = 'nobody is there to receive the signal';
end
$$;

comment on function currant._not_delivered(uuid, uuid) is
'What to say of a signal to what is no open workflow: its arrival number if it was delivered before. Errors: KR003, KR004, 22023.';

revoke all on function currant._not_delivered(uuid, uuid) from public;

create or replace function currant.signal(
    execution uuid,
    name text,
    payload jsonb default 'null',
    options jsonb default '{}'
)
returns bigint
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    _signal_id uuid;
begin
    perform currant._check_options(options, array['id', 'key']);
    perform currant._check_signal_name(name);
    perform currant._check_size('payload', pg_column_size(payload));
    _signal_id := currant._signal_id(options ->> 'id', options ->> 'key');
    perform currant._hold_signal_id(_signal_id);
    return coalesce(
        currant._deliver(execution, name, coalesce(payload, 'null'), _signal_id),
        currant._not_delivered(execution, _signal_id)
    );
end
$$;

comment on function currant.signal(uuid, text, jsonb, jsonb) is
'Sends a signal to an open workflow, in the caller''s transaction; it is kept until the workflow waits for that name, and signals of one name are received in the order in which they arrived. Locks no row. Option id (a UUID) or key (a text, such as the id of the message that the signal comes from): repeating the call with it delivers nothing twice to that workflow, and waits for the commit of one that is in flight. Returns the arrival number. Errors: KR003 (the workflow has ended), KR004, KR005, 22023.';

revoke all on function currant.signal(uuid, text, jsonb, jsonb) from public;
grant execute on function currant.signal(uuid, text, jsonb, jsonb)
to currant_client, currant_worker, currant_admin;

commit;

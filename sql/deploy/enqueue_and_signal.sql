-- Deploy currant:enqueue_and_signal to pg
-- requires: enqueue_many
-- requires: signal

begin;

-- The holder of the key may end between being found and being signalled: the next round finds that and takes its place.
-- Who got a message is noted beside the key, since a repeated call may find it with the next one.
create or replace function currant._start_and_signal(
    function text,
    args jsonb,
    options jsonb,
    id uuid,
    name text,
    payload jsonb,
    signal_id uuid,
    is_restart boolean
)
returns uuid
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    _key text := options ->> 'key';
    _is_restartable boolean := _key is not null and options ->> 'key_scope' = 'open';
    _restart jsonb := case
        when _is_restartable
            then jsonb_build_object('function', function, 'args', args, 'options', options, 'signal_id', signal_id)
    end;
    _message text := 'signal ' || currant._signal_id(null, format('%s %s %s', signal_id, function, _key));
    _id uuid := id;
    _holder uuid;
begin
    if _key is null or signal_id is null then
        _message := null;
    elsif not is_restart then
        insert into currant.keys (function, key, execution_id)
        values ('', _message, _start_and_signal.id)
        on conflict on constraint keys_pkey do nothing;
        if not found then
            return currant._key_holder('', _message);
        end if;
    end if;
    loop
        _holder := (currant._enqueue(
            function, array[args], options, array[_id], case when _key is not null then array[_key] end, null
        ))[1];
        if currant._deliver(_holder, name, payload, signal_id, _restart) is not null then
            update currant.keys as k
            set execution_id = _holder
            where k.function = '' and k.key = _message and k.execution_id <> _holder;
            return _holder;
        end if;
        exit when not _is_restartable or _holder = _id or not exists (
            select from currant.outcomes as o where o.execution_id = _holder
        );
        _id := currant._uuid7();
    end loop;
    perform currant._not_delivered(_holder, signal_id);
    return _holder;
end
$$;

comment on function currant._start_and_signal(text, jsonb, jsonb, uuid, text, jsonb, uuid, boolean) is
'enqueue_and_signal, without its checks; also for a signal that the last workflow left, which is no repetition. Errors: 22023, KR003, KR005.';

revoke all on function currant._start_and_signal(text, jsonb, jsonb, uuid, text, jsonb, uuid, boolean) from public;

create or replace function currant.enqueue_and_signal(
    function text,
    args jsonb,
    signal text,
    payload jsonb default 'null',
    options jsonb default '{}'
)
returns uuid
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    _own constant text[] := array['id', 'signal_id', 'signal_key'];
    _policy currant._policy;
    _signal_id uuid;
begin
    perform currant._check_options(options, _own || currant._enqueue_options(array['key', 'key_scope']));
    perform currant._check_signal_name(signal);
    perform currant._check_size('payload', pg_column_size(payload));
    if coalesce(options ->> 'key', options ->> 'id') is null then
        raise exception using
            errcode = '22023', message = 'option key or id is needed',
            detail = 'without one every call would start another workflow',
            hint = 'give the key that this workflow is known by; to start a new one each time, enqueue and signal it';
    end if;
    _policy := currant._policy(function, options, null);
    if _policy.kind <> 'workflow' then
        raise exception using
            errcode = '22023', message = 'a task takes no signals', detail = format('%s is a task', function),
            hint = 'name a workflow; of a function that nobody has registered say so with the option kind';
    end if;
    _signal_id := currant._signal_id(options ->> 'signal_id', options ->> 'signal_key');
    perform currant._hold_signal_id(_signal_id);
    return currant._start_and_signal(
        function,
        args,
        -- Resolved now: should it have to be started once more later, nobody can be told of an error.
        options - _own || jsonb_build_object(
            'kind', 'workflow', 'queue', _policy.queue, 'key_scope', coalesce(options ->> 'key_scope', 'open')
        ),
        coalesce((options ->> 'id')::uuid, currant._uuid7()),
        signal,
        coalesce(payload, 'null'),
        _signal_id,
        false
    );
end
$$;

comment on function currant.enqueue_and_signal(text, jsonb, text, jsonb, jsonb) is
'Signals the workflow that holds a key, and starts it first if there is none, in the caller''s transaction: rolled back, neither happened. Returns the workflow''s id. Options as for enqueue, of which key or id is needed, with one difference: key_scope is open if it is not given, so that a new workflow is started when the last one has ended; and signal_id (a UUID) or signal_key (a text): repeating the call with it delivers nothing twice, also when the workflow has ended and another has the key, and returns the same id. A signal that reaches a workflow while it ends is not lost: in open scope what nobody there has taken goes to a new one; only what was sent before somebody asked for its cancellation stays unread if it then ends as cancelled. Errors: KR003 (it has ended, and neither key nor id is free), 22023 (also: it is a task), KR001, KR005.';

revoke all on function currant.enqueue_and_signal(text, jsonb, text, jsonb, jsonb) from public;
grant execute on function currant.enqueue_and_signal(text, jsonb, text, jsonb, jsonb)
to currant_client, currant_worker, currant_admin;

commit;

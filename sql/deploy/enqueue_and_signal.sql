-- Deploy currant:enqueue_and_signal to pg
-- requires: enqueue_many
-- requires: signal

begin;

-- The holder of the key may end between being found and being signalled: the next round finds that and takes its place.
create or replace function currant._start_and_signal(
    function text,
    args jsonb,
    options jsonb,
    id uuid,
    name text,
    payload jsonb,
    signal_id uuid
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
        when _is_restartable then jsonb_build_object('function', function, 'args', args, 'options', options)
    end;
    _id uuid := id;
    _holder uuid;
begin
    loop
        _holder := (currant._enqueue(
            function, array[args], options, array[_id], case when _key is not null then array[_key] end, null
        ))[1];
        if currant._deliver(_holder, name, payload, signal_id, _restart) is not null then
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

comment on function currant._start_and_signal(text, jsonb, jsonb, uuid, text, jsonb, uuid) is
'enqueue_and_signal, without its checks. Errors: 22023, KR003, KR005.';

revoke all on function currant._start_and_signal(text, jsonb, jsonb, uuid, text, jsonb, uuid) from public;

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
        currant._signal_id(options ->> 'signal_id', options ->> 'signal_key')
    );
end
$$;

comment on function currant.enqueue_and_signal(text, jsonb, text, jsonb, jsonb) is
'Signals the workflow that holds a key, and starts it first if there is none, in the caller''s transaction: rolled back, neither happened. Returns the workflow''s id. Options as for enqueue, of which key or id is needed, with one difference: key_scope is open if it is not given, so that a new workflow is started when the last one has ended; and signal_id (a UUID) or signal_key (a text): repeating the call with it delivers nothing twice to the same workflow. A signal that reaches a workflow while it ends is not lost: in open scope what it did not read goes to a new one. Errors: KR003 (it has ended, and neither key nor id is free), 22023 (also: it is a task), KR001, KR005.';

revoke all on function currant.enqueue_and_signal(text, jsonb, text, jsonb, jsonb) from public;
grant execute on function currant.enqueue_and_signal(text, jsonb, text, jsonb, jsonb)
to currant_client, currant_worker, currant_admin;

commit;

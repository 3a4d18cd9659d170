-- Deploy currant:signal_by_key to pg
-- requires: signal

begin;

create or replace function currant.signal_by_key(
    function text,
    key text,
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
    _execution uuid := currant._key_holder(function, key);
begin
    if _execution is null then
        raise exception using
            errcode = 'KR004', message = 'no execution has this key',
            detail = format('function %s, key %s', left(function, 200), left(key, 200)),
            hint = 'check both; enqueue_and_signal starts a workflow where there is none';
    end if;
    return currant.signal(_execution, name, payload, options);
end
$$;

comment on function currant.signal_by_key(text, text, text, jsonb, jsonb) is
'Sends a signal to the workflow of that function that was enqueued with that idempotency key; otherwise as signal. Errors: KR003 (the workflow has ended), KR004 (there is none), KR005, 22023.';

revoke all on function currant.signal_by_key(text, text, text, jsonb, jsonb) from public;
grant execute on function currant.signal_by_key(text, text, text, jsonb, jsonb)
to currant_client, currant_worker, currant_admin;

commit;

-- Deploy currant:enqueue to pg
-- requires: enqueue_many

begin;

create or replace function currant.enqueue(function text, args jsonb default '{}', options jsonb default '{}')
returns uuid
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    perform currant._check_options(
        options, array['id'] || currant._enqueue_options(array['key', 'key_scope'])
    );
    return (currant._enqueue(
        function,
        array[args],
        options,
        array[coalesce((options ->> 'id')::uuid, currant._uuid7())],
        case when options ->> 'key' is not null then array[options ->> 'key'] end,
        null
    ))[1];
end
$$;

comment on function currant.enqueue(text, jsonb, jsonb) is
'Asks for an execution of a task or workflow, in the caller''s transaction: rolled back, it never happened. args: an object holds keyword arguments, an array positional ones. Options: id (a UUID, of version 7 so that lists are in order: repeating the call with it has no second effect), kind, queue, priority (higher first), delay (seconds or interval) or run_at, retries, timeout, key (idempotency: the same function and key give the same execution), key_scope (always, or open: free again once that execution has ended), version, headers, retry_delay, retry_backoff, retry_max_delay. What is not given comes from the registered declaration, then from the configured defaults. Returns the id that counts. Errors: 22023 (a wrong or unknown option, or arguments that are no object or array), KR001 (unregistered function and no queue named), KR005 (arguments too large).';

revoke all on function currant.enqueue(text, jsonb, jsonb) from public;
grant execute on function currant.enqueue(text, jsonb, jsonb) to currant_client, currant_worker, currant_admin;

commit;

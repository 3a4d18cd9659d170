-- Deploy currant:advance_many to pg
-- requires: advance

begin;

create or replace function currant.advance_many(worker uuid, activations jsonb[])
returns text[]
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    _activation jsonb;
    _words text[] := array[]::text[];
begin
    foreach _activation in array activations
    loop
        _words := _words || currant.advance(
            worker,
            (_activation ->> 'execution')::uuid,
            (_activation ->> 'token')::bigint,
            (_activation ->> 'last_event')::integer,
            array(
                select a.arrival::bigint
                from jsonb_array_elements_text(_activation -> 'arrivals') with ordinality as a (arrival, n)
                order by a.n
            ),
            _activation -> 'commands',
            coalesce(_activation -> 'options', '{}')
        );
    end loop;
    return _words;
end
$$;

comment on function currant.advance_many(uuid, jsonb[]) is
'advance for several workflows in one transaction: each element is an object with execution, token, last_event, arrivals, commands and options. Returns one word for each, in order. Errors as for advance; then nothing of the whole call has happened.';

revoke all on function currant.advance_many(uuid, jsonb[]) from public;
grant execute on function currant.advance_many(uuid, jsonb[]) to currant_worker, currant_admin;

commit;

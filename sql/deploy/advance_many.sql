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
begin
    perform currant._enter_worker(worker);
    return currant._advance(worker, to_jsonb(activations));
end
$$;

comment on function currant.advance_many(uuid, jsonb[]) is
'advance for several workflows in one transaction: each element is an object with execution, token, last_event, arrivals, commands and options. Returns one word for each, in order. Errors as for advance; then nothing of the whole call has happened.';

revoke all on function currant.advance_many(uuid, jsonb[]) from public;
grant execute on function currant.advance_many(uuid, jsonb[]) to currant_worker, currant_admin;

commit;

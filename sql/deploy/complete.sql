-- Deploy currant:complete to pg
-- requires: complete_many

begin;

create or replace function currant.complete(worker uuid, execution uuid, token bigint, result jsonb)
returns text
language sql
volatile
security definer
set search_path = pg_catalog, pg_temp
begin atomic
    select (currant.complete_many(
        complete.worker, array[complete.execution], array[complete.token], array[complete.result]
    ))[1];
end;

comment on function currant.complete(uuid, uuid, bigint, jsonb) is
'complete_many for one task: returns accepted, already, lost or busy. Errors: KR005, KR008.';

revoke all on function currant.complete(uuid, uuid, bigint, jsonb) from public;
grant execute on function currant.complete(uuid, uuid, bigint, jsonb) to currant_worker, currant_admin;

commit;

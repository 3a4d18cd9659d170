-- Deploy currant:release to pg
-- requires: release_many

begin;

create or replace function currant.release(
    worker uuid,
    execution uuid,
    token bigint,
    reason text default null
)
returns text
language sql
volatile
security definer
set search_path = pg_catalog, pg_temp
begin atomic
    select (currant.release_many(
        release.worker, array[release.execution], array[release.token], array[release.reason]
    ))[1];
end;

comment on function currant.release(uuid, uuid, bigint, text) is
'release_many for one lease: returns accepted, lost, already or busy. Errors: KR008.';

revoke all on function currant.release(uuid, uuid, bigint, text) from public;
grant execute on function currant.release(uuid, uuid, bigint, text) to currant_worker, currant_admin;

commit;

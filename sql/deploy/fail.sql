-- Deploy currant:fail to pg
-- requires: fail_many

begin;

create or replace function currant.fail(
    worker uuid,
    execution uuid,
    token bigint,
    error jsonb,
    retry_after interval default null
)
returns text
language sql
volatile
security definer
set search_path = pg_catalog, pg_temp
begin atomic
    select (currant.fail_many(
        fail.worker, array[fail.execution], array[fail.token], array[fail.error], array[fail.retry_after]
    ))[1];
end;

comment on function currant.fail(uuid, uuid, bigint, jsonb, interval) is
'fail_many for one task: returns accepted, already, lost or busy. Errors: 22023, KR005, KR008.';

revoke all on function currant.fail(uuid, uuid, bigint, jsonb, interval) from public;
grant execute on function currant.fail(uuid, uuid, bigint, jsonb, interval) to currant_worker, currant_admin;

commit;

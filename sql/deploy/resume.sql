-- Deploy currant:resume to pg
-- requires: claim

begin;

create or replace function currant.resume(worker uuid)
returns setof currant.claimed
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set jit = off
as $$
declare
    _ids uuid[];
    _tokens bigint[];
begin
    perform currant._enter_worker(worker);
    select array_agg(l.execution_id order by l.token), array_agg(l.token order by l.token)
    into _ids, _tokens
    from currant.leases as l
    where l.worker_id = resume.worker;
    if found and _ids is not null then
        return query select c.* from currant._claimed(worker, _ids, _tokens, null, null) as c;
    end if;
end
$$;

comment on function currant.resume(uuid) is
'After a lost connection: every lease the worker holds, also those of a claim whose answer never arrived; each is to be adopted or given back with release. Waits for a transaction that the worker''s old connection still has in flight. rank and seq are null. Errors: KR002 (declared dead meanwhile: register again), KR008.';

revoke all on function currant.resume(uuid) from public;
grant execute on function currant.resume(uuid) to currant_worker, currant_admin;

commit;

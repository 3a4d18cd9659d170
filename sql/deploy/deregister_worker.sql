-- Deploy currant:deregister_worker to pg
-- requires: register_worker
-- requires: release_many
-- requires: now

begin;

create or replace function currant.deregister_worker(worker uuid)
returns integer
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
    _given_back integer := 0;
begin
    perform currant._require_read_committed();
    perform pg_advisory_xact_lock(hashtextextended(worker::text, 0));
    select array_agg(l.execution_id), array_agg(l.token) into _ids, _tokens
    from currant.leases as l
    where l.worker_id = deregister_worker.worker;
    if _ids is not null then
        select count(*) filter (where r.word = 'accepted') into _given_back
        from unnest(currant.release_many(worker, _ids, _tokens)) as r (word);
    end if;
    if not exists (select from currant.leases as l where l.worker_id = deregister_worker.worker) then
        delete from currant.worker_functions as f where f.worker_id = deregister_worker.worker;
        delete from currant.workers as w where w.id = deregister_worker.worker;
    else
        -- Something of it is locked just now: the reaper sees to the rest.
        update currant.workers as w
        set died_at = currant._now(), waiting_until = null
        where w.id = deregister_worker.worker;
    end if;
    return _given_back;
end
$$;

comment on function currant.deregister_worker(uuid) is
'A worker says goodbye: what it still holds is given back without counting the attempt, and it is forgotten. Returns how many leases were given back. May be repeated. Errors: KR008.';

revoke all on function currant.deregister_worker(uuid) from public;
grant execute on function currant.deregister_worker(uuid) to currant_worker, currant_admin;

commit;

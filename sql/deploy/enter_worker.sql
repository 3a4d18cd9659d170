-- Deploy currant:enter_worker to pg
-- requires: workers

begin;

create or replace function currant._require_read_committed()
returns void
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    if current_setting('transaction_isolation') not in ('read committed', 'read uncommitted') then
        raise exception using
            errcode = 'KR008',
            message = format('isolation level %s cannot run worker functions', current_setting('transaction_isolation')),
            detail = 'rows are locked first and read again with a fresh snapshot, which this level does not give',
            hint = 'use read committed';
    end if;
end
$$;

comment on function currant._require_read_committed() is
'Refuses isolation levels whose snapshot is older than a lock just taken. Errors: KR008.';

revoke all on function currant._require_read_committed() from public;

-- The share lock on the worker's row is what the reaper respects: while a transaction that may insert leases is
-- open, the worker cannot be declared dead, and a worker declared dead inserts none.
create or replace function currant._enter_worker(worker uuid)
returns timestamptz
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    _waiting_until timestamptz;
begin
    if current_setting('transaction_isolation') <> 'read committed' then
        perform currant._require_read_committed();
    end if;
    perform pg_advisory_xact_lock(hashtextextended(worker::text, 0));
    select w.waiting_until into _waiting_until
    from currant.workers as w
    where w.id = _enter_worker.worker and w.died_at is null
    for key share;
    if not found then
        raise exception using
            errcode = 'KR002', message = 'worker is not registered or was declared dead',
            detail = format('worker %s', worker),
            hint = 'stop what it is running, and register under a new id';
    end if;
    return _waiting_until;
end
$$;

comment on function currant._enter_worker(uuid) is
'What every function begins with that may give a worker leases: one such transaction per worker at a time, and none for a dead one. Returns its waiting_until. Errors: KR002, KR008.';

revoke all on function currant._enter_worker(uuid) from public;

commit;

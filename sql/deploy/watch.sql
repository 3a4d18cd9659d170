-- Deploy currant:watch to pg
-- requires: watchers
-- requires: execution_status
-- requires: now
-- requires: not_found

begin;

create or replace function currant.watch(execution uuid, watch_for interval default '1 minute')
returns text
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
as $$
declare
    _until timestamptz := currant._now() + least(watch_for, interval '1 hour');
    _status text;
begin
    insert into currant.watchers (execution_id, watching_until)
    select e.id, _until
    from currant.executions as e
    where
        e.id = watch.execution
        and (select true from currant.outcomes as o where o.execution_id = watch.execution limit 1) is null
        and (
            select true
            from (
                select x.workflow_id, x.watching_until
                from currant.watchers as x
                where x.execution_id = watch.execution
                offset 0
            ) as w
            where w.workflow_id is null and w.watching_until >= _until - least(watch_for, interval '1 hour') / 2
            limit 1
        ) is null;

    select s.status into _status from currant.execution_status as s where s.id = watch.execution;
    if not found then
        perform currant._raise_not_found(execution);
    end if;
    return _status;
end
$$;

comment on function currant.watch(uuid, interval) is
'Declares that somebody waits for the end of an execution: for that long (at most an hour) its end is notified on channel currant_ended with its id. Returns the status now. Ask once more after this call has committed, since it may have ended just before; and poll in longer intervals, since a notification is lost with its connection. Errors: KR004.';

revoke all on function currant.watch(uuid, interval) from public;
grant execute on function currant.watch(uuid, interval)
to currant_client, currant_worker, currant_observer, currant_admin;

commit;

-- Deploy currant:restart_signals to pg
-- requires: enqueue_and_signal
-- requires: delayed

begin;

-- Called by a claim, which waits for nobody and never raises over one row: a key that an application's open
-- transaction has just taken, and what is refused today, are tried again later; the signal stays unread until then.
create or replace function currant._restart_signals(workflow_ids uuid[], at timestamptz)
returns void
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    _signal record;
    _later uuid[] := array[]::uuid[];
    _wait interval;
begin
    for _signal in
        select i.workflow_id, i.arrival, i.name, i.payload, i.restart, s.signal_id
        from currant.inbox as i
        left join currant.signal_ids as s on s.workflow_id = i.workflow_id and s.arrival = i.arrival
        where
            i.workflow_id = any (workflow_ids)
            and i.restart is not null
            and not exists (select from currant.workflows as w where w.execution_id = i.workflow_id)
        order by i.arrival
        for update of i skip locked
    loop
        continue when _signal.workflow_id = any (_later);
        _wait := null;
        if not currant._try_key(_signal.restart ->> 'function', _signal.restart -> 'options' ->> 'key') then
            _wait := interval '50 milliseconds';
        else
            begin
                delete from currant.inbox as i
                where i.workflow_id = _signal.workflow_id and i.arrival = _signal.arrival;
                perform currant._start_and_signal(
                    _signal.restart ->> 'function', _signal.restart -> 'args', _signal.restart -> 'options',
                    currant._uuid7(), _signal.name, _signal.payload, _signal.signal_id
                );
            exception when others then
                _wait := interval '1 minute';
            end;
        end if;
        if _wait is not null then
            _later := _later || _signal.workflow_id;
            -- The number is one that nobody else can be inserting: that would have to be waited for.
            insert into currant.delayed (execution_id, kind, number, due_at, attempt)
            values (
                _signal.workflow_id, 'wake',
                nextval(pg_get_serial_sequence('currant.ready', 'seq')) % 2147483647, _restart_signals.at + _wait, 0
            );
        end if;
    end loop;
end
$$;

comment on function currant._restart_signals(uuid[], timestamptz) is
'Gives what workflows that have ended left unread of enqueue_and_signal to new executions under their keys; later, if a key is locked just now.';

revoke all on function currant._restart_signals(uuid[], timestamptz) from public;

commit;

-- Deploy currant:restart_signals to pg
-- requires: enqueue_and_signal
-- requires: delayed
-- requires: outcomes
-- requires: cancels

begin;

create or replace function currant._restart_later(workflow_ids uuid[], due_at timestamptz)
returns void
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    -- The number is one that nobody else can be inserting: that would have to be waited for.
    insert into currant.delayed (execution_id, kind, number, due_at, attempt)
    select
        i.id, 'wake', nextval(pg_get_serial_sequence('currant.ready', 'seq')) % 2147483647, _restart_later.due_at, 0
    from unnest(workflow_ids) as i (id);
end
$$;

comment on function currant._restart_later(uuid[], timestamptz) is
'Has a claim look again at what workflows that have ended left unread.';

revoke all on function currant._restart_later(uuid[], timestamptz) from public;

-- Called by a claim, which waits for nobody, never raises over one row, and has other things to do: what is above some
-- number, a key or an id that an application's open transaction has just taken, and what is refused today, are tried
-- again later; the signal stays unread until then. A cancellation is for what was sent before it was asked for, too:
-- else it would only start the next one, and nobody could stop them.
create or replace function currant._restart_signals(workflow_ids uuid[], at timestamptz)
returns void
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    -- Each is a subtransaction, of which a session shows others no more than 64.
    _at_most constant integer := 50;
    _signal record;
    _signal_id uuid;
    _met integer := 0;
    _later uuid[] := array[]::uuid[];
    _wait interval;
begin
    for _signal in
        select
            i.workflow_id, i.arrival, i.name, i.payload, i.restart,
            o.status = 'cancelled' and i.arrived_at <= coalesce(
                (select min(c.requested_at) from currant.cancels as c where c.execution_id = o.execution_id),
                case when o.token is null then o.finished_at else '-infinity' end
            ) as is_cancelled
        from currant.inbox as i
        join currant.outcomes as o on o.execution_id = i.workflow_id
        where i.workflow_id = any (workflow_ids) and i.restart is not null
        order by i.arrival
        limit _at_most
        for update of i skip locked
    loop
        _met := _met + 1;
        continue when _signal.workflow_id = any (_later);
        _wait := null;
        _signal_id := (_signal.restart ->> 'signal_id')::uuid;
        if _signal.is_cancelled then
            update currant.inbox as i
            set restart = null
            where i.workflow_id = _signal.workflow_id and i.arrival = _signal.arrival;
        elsif not currant._try_signal_id(_signal_id)
            or not currant._try_key(_signal.restart ->> 'function', _signal.restart -> 'options' ->> 'key')
        then
            _wait := interval '50 milliseconds';
        else
            begin
                delete from currant.inbox as i
                where i.workflow_id = _signal.workflow_id and i.arrival = _signal.arrival;
                perform currant._start_and_signal(
                    _signal.restart ->> 'function', _signal.restart -> 'args', _signal.restart -> 'options',
                    currant._uuid7(), _signal.name, _signal.payload, _signal_id, true
                );
            exception when others then
                _wait := interval '1 minute';
            end;
        end if;
        if _wait is not null then
            _later := _later || _signal.workflow_id;
            perform currant._restart_later(array[_signal.workflow_id], at + _wait);
        end if;
    end loop;
    if _met = _at_most then
        perform currant._restart_later(
            array(
                select distinct i.workflow_id
                from currant.inbox as i
                join currant.outcomes as o on o.execution_id = i.workflow_id
                where
                    i.workflow_id = any (workflow_ids)
                    and i.workflow_id <> all (_later)
                    and i.restart is not null
            ),
            at + interval '50 milliseconds'
        );
    end if;
end
$$;

comment on function currant._restart_signals(uuid[], timestamptz) is
'Gives what workflows that have ended left unread of enqueue_and_signal to new executions under their keys, except what was cancelled with them; later, if it is much, or a key is locked just now.';

revoke all on function currant._restart_signals(uuid[], timestamptz) from public;

commit;

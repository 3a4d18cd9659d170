-- Deploy currant:tick to pg
-- requires: ticker
-- requires: watchers
-- requires: types
-- requires: move_due
-- requires: recover
-- requires: enter_worker

begin;

create or replace function currant.tick(duty text default null)
returns currant.tick_result
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set jit = off
as $$
declare
    _batch constant integer := 500;
    _now timestamptz;
    _is_mine boolean;
    _ticker record;
    _shortest interval;
    _is_full boolean;
    _moved integer := 0;
    _recovered integer := 0;
begin
    perform currant._require_read_committed();
    if duty not in ('due', 'recover') then
        raise exception using
            errcode = '22023', message = format('unknown duty %s', duty), detail = 'duty',
            hint = 'give due, recover, or null for both';
    end if;
    _is_mine := pg_try_advisory_xact_lock(hashtextextended('currant.tick', 0));
    _now := currant._now();
    -- A clock that went back (a failover) must not make everything wait until it is where it was.
    select
        case when t.ticked_at > _now then '-infinity' else t.ticked_at end as ticked_at,
        case when t.steady_since > _now then 'infinity' else t.steady_since end as steady_since,
        case when t.swept_at > _now then '-infinity' else t.swept_at end as swept_at,
        case when t.enforced_at > _now then '-infinity' else t.enforced_at end as enforced_at,
        t.sweep_took,
        case when t.swept_to > _now then '-infinity' else t.swept_to end as swept_to
    into _ticker
    from currant.ticker as t;

    if _is_mine then
        select min(w.heartbeat_timeout) into _shortest
        from currant.workers as w
        where w.died_at is null;
        -- A floor, because the ticks of idle workers are some seconds apart: a worker with a shorter timeout than twice
        -- this may be declared dead after an outage that short.
        if _ticker.ticked_at < _now - greatest(coalesce(_shortest, interval '30 seconds') / 2, interval '4 seconds')
        then
            _ticker.steady_since := _now;
        end if;

        if duty is distinct from 'recover' then
            _is_full := _ticker.swept_at < _now - greatest(interval '2 seconds', 50 * _ticker.sweep_took);
            _moved := currant._move_due(
                case when _is_full then '-infinity' else _ticker.swept_to end, _now, _batch, _ticker.steady_since
            );
            if _is_full then
                _ticker.sweep_took := currant._now() - _now;
                _ticker.swept_at := _now;
                if _moved < _batch then
                    -- What commits late with an earlier due time is found by the next full sweep.
                    _ticker.swept_to := _now - interval '1 second';
                end if;
            end if;
        end if;
        if duty is distinct from 'due' then
            delete from currant.watchers as w
            where w.ctid = any (array(
                select x.ctid
                from currant.watchers as x
                where x.workflow_id is null and x.watching_until < _now
                limit 5000
                for update skip locked
            ));
            -- What is found late, because its claim committed late or its row was locked, is found by a full round.
            _is_full := _ticker.enforced_at < _now - interval '1 minute';
            _recovered := currant._enforce_deadlines(
                case when _is_full then '-infinity' else _now - interval '2 minutes' end,
                _now, _ticker.steady_since, _batch
            );
            if _is_full and _recovered < _batch then
                _ticker.enforced_at := _now;
            end if;
            _recovered := _recovered + currant._reap(_now, _ticker.steady_since, _batch);
        end if;
        update currant.ticker as t
        set
            ticked_at = _now, steady_since = _ticker.steady_since, swept_at = _ticker.swept_at,
            sweep_took = _ticker.sweep_took, swept_to = _ticker.swept_to, enforced_at = _ticker.enforced_at;
    end if;

    return row(
        _moved + _recovered,
        _moved >= _batch or _recovered >= _batch,
        (
            select greatest(min(d.due_at) - currant._now(), interval '0')
            from currant.delayed as d
            where d.due_at > _now and d.due_at >= _ticker.swept_to
            having min(d.due_at) is not null
        )
    )::currant.tick_result;
end
$$;

comment on function currant.tick(text) is
'One bounded round of maintenance, one caller at a time (another finds nothing to do). duty due: what has become due is made ready or fires; duty recover: dead workers'' and overdue work is given to others; null: both, in one transaction. Any worker calls both continuously. Returns how much was done, whether more is waiting, and how long until the next thing is due (null: nothing). After a gap without ticks no worker is declared dead for one heartbeat timeout of its, and no deadline of what ran during the gap is enforced for half a minute. Errors: 22023, KR008.';

revoke all on function currant.tick(text) from public;
grant execute on function currant.tick(text) to currant_worker, currant_admin;

commit;

-- Deploy currant:status to pg
-- requires: execution_status
-- requires: inbox
-- requires: types
-- requires: not_found

begin;

create or replace function currant.status(execution uuid)
returns currant.execution_state
language plpgsql
stable
security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
as $$
declare
    _state currant.execution_state;
begin
    select
        s.id, s.kind, s.function, s.version, s.queue, s.priority, s.status, s.attempt, s.max_attempts,
        e.args, o.result, o.error, e.headers, s.key, s.parent_id, s.root_id,
        s.created_at, s.started_at, s.finished_at, s.due_at, s.worker_id, s.waits_for, s.is_cancel_requested,
        s.retry_of,
        (select p.details from currant.progress as p where p.execution_id = s.id),
        coalesce((
            select jsonb_agg(
                jsonb_build_object(
                    'attempt', a.attempt, 'worker', a.worker_id, 'started_at', a.started_at,
                    'ended_at', a.ended_at, 'error', a.error
                )
                order by a.token
            )
            from (
                select x.token, x.attempt, x.worker_id, x.started_at, x.ended_at, x.error
                from currant.attempts as x
                where x.execution_id = s.id
                order by x.token desc
                limit 100
            ) as a
        ), '[]'),
        coalesce((
            select jsonb_agg(jsonb_build_object('name', i.name, 'arrived_at', i.arrived_at) order by i.arrival)
            from (
                select x.arrival, x.name, x.arrived_at
                from currant.inbox as x
                where x.workflow_id = s.id and x.kind = 'signal_received'
                order by x.arrival
                limit 100
            ) as i
        ), '[]')
    into _state
    from currant.execution_status as s
    join currant.executions as e on e.id = s.id
    left join currant.outcomes as o on o.execution_id = s.id
    where s.id = status.execution;
    if not found then
        perform currant._raise_not_found(execution);
    end if;
    return _state;
end
$$;

comment on function currant.status(uuid) is
'Everything known of one execution, at one moment: its status (pending, running, suspended, blocked, completed, failed, cancelled), arguments, result or error, times, why it waits, and attempts, an array of the attempts that failed or were lost (the last 100); unread_signals, an array of the signals that have arrived at a workflow and that it has not applied, or had not when it ended (the first 100). Errors: KR004.';

revoke all on function currant.status(uuid) from public;
grant execute on function currant.status(uuid) to currant_client, currant_worker, currant_observer, currant_admin;

commit;

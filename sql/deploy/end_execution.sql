-- Deploy currant:end_execution to pg
-- requires: executions
-- requires: outcomes
-- requires: tell_workflow
-- requires: ready
-- requires: attempts
-- requires: cancels
-- requires: delayed
-- requires: leases
-- requires: retry_delay
-- requires: notify

begin;

create or replace function currant._end_unsuccessfully(
    execution_id uuid,
    status text,
    error jsonb,
    attempt integer,
    token bigint,
    worker_id uuid,
    started_at timestamptz,
    at timestamptz
)
returns void
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    _parent_id uuid;
    _number integer;
begin
    insert into currant.outcomes (
        execution_id, status, error, attempt, token, worker_id, started_at, finished_at
    ) values (
        _end_unsuccessfully.execution_id, _end_unsuccessfully.status, _end_unsuccessfully.error,
        _end_unsuccessfully.attempt, _end_unsuccessfully.token, _end_unsuccessfully.worker_id,
        _end_unsuccessfully.started_at, _end_unsuccessfully.at
    )
    on conflict on constraint outcomes_pkey do nothing;
    if not found then
        return;
    end if;
    select e.parent_id, e.command_number into _parent_id, _number
    from currant.executions as e
    where e.id = _end_unsuccessfully.execution_id;
    if _parent_id is not null then
        perform currant._tell_workflow(
            _parent_id, _number, execution_id, 'task_failed',
            error || jsonb_build_object('status', status, 'attempts', attempt), at
        );
    end if;
end
$$;

comment on function currant._end_unsuccessfully(uuid, text, jsonb, integer, bigint, uuid, timestamptz, timestamptz) is
'Ends a task that the caller has taken out of ready, delayed or leases as failed or cancelled, and tells its parent.';

revoke all on function
currant._end_unsuccessfully(uuid, text, jsonb, integer, bigint, uuid, timestamptz, timestamptz) from public;

-- The one place that decides what follows a bad attempt: a failure, a timeout and a lost worker are treated alike.
create or replace function currant._attempt_failed(
    execution_id uuid,
    token bigint,
    attempt integer,
    worker_id uuid,
    started_at timestamptz,
    error jsonb,
    retry_after interval,
    at timestamptz
)
returns void
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    _reason text;
    _max_attempts integer;
    _delay interval;
    _queue text;
    _rank integer;
    -- What the database decided is no completion that its worker could repeat.
    _ender bigint := case when not error ? 'enforced' then token end;
begin
    insert into currant.attempts (execution_id, token, attempt, worker_id, started_at, ended_at, error)
    values (
        _attempt_failed.execution_id, _attempt_failed.token, _attempt_failed.attempt, _attempt_failed.worker_id,
        _attempt_failed.started_at, _attempt_failed.at, _attempt_failed.error
    );

    select c.reason into _reason
    from currant.cancels as c
    where c.execution_id = _attempt_failed.execution_id;
    if found then
        perform currant._end_unsuccessfully(
            execution_id, 'cancelled', currant._cancelled_error(_reason), attempt, _ender, worker_id, started_at, at
        );
        return;
    end if;

    select
        e.max_attempts,
        coalesce(
            _attempt_failed.retry_after,
            currant._retry_delay(e.retry_delay, e.retry_backoff, e.retry_max_delay, _attempt_failed.attempt)
        ),
        e.queue,
        -2 * e.priority + case when e.parent_id is null then 1 else 0 end
    into _max_attempts, _delay, _queue, _rank
    from currant.executions as e
    where e.id = _attempt_failed.execution_id;

    if attempt >= _max_attempts or error -> 'retryable' = 'false' then
        perform currant._end_unsuccessfully(
            execution_id, 'failed', error, attempt, _ender, worker_id, started_at, at
        );
    elsif _delay > interval '0' then
        insert into currant.delayed (execution_id, kind, due_at, attempt)
        values (
            _attempt_failed.execution_id, 'retry', _attempt_failed.at + _delay, _attempt_failed.attempt + 1
        );
    else
        insert into currant.ready (execution_id, queue, rank, attempt, is_workflow)
        values (_attempt_failed.execution_id, _queue, _rank, _attempt_failed.attempt + 1, false);
    end if;
end
$$;

comment on function
currant._attempt_failed(uuid, bigint, integer, uuid, timestamptz, jsonb, interval, timestamptz) is
'Records a bad attempt of a task whose lease the caller has deleted, then ends it (cancelled, no attempts left, not retryable) or has it tried again after its retry delay.';

revoke all on function
currant._attempt_failed(uuid, bigint, integer, uuid, timestamptz, jsonb, interval, timestamptz) from public;

create or replace function currant._cancelled_error(reason text)
returns jsonb
language sql
immutable
begin atomic
    select jsonb_build_object('type', 'Cancelled', 'message', coalesce(reason, 'cancelled'), 'retryable', false);
end;

comment on function currant._cancelled_error(text) is
'The error of an execution that ended as cancelled.';

revoke all on function currant._cancelled_error(text) from public;

commit;

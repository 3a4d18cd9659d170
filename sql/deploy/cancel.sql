-- Deploy currant:cancel to pg
-- requires: request_cancel
-- requires: force_cancel
-- requires: execution_status
-- requires: enter_worker
-- requires: not_found
-- requires: policy
-- requires: payload

begin;

create or replace function currant.cancel(
    execution uuid,
    reason text default null,
    options jsonb default '{}'
)
returns text
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
set jit = off
as $$
declare
    _now timestamptz := currant._now();
    _status text;
begin
    perform currant._require_read_committed();
    perform currant._check_options(options, array['force']);
    perform currant._check_size('reason', octet_length(reason));
    if not exists (select from currant.executions as e where e.id = cancel.execution) then
        perform currant._raise_not_found(execution);
    end if;
    if (options ->> 'force')::boolean then
        perform currant._force_cancel(execution, reason, 1, _now);
    else
        _status := currant._request_cancel(execution, reason, _now);
    end if;
    return coalesce(
        _status, (select s.status from currant.execution_status as s where s.id = cancel.execution), 'suspended'
    );
end
$$;

comment on function currant.cancel(uuid, text, jsonb) is
'Asks for the cancellation of an execution, with a reason for people. A task that is not running, and a workflow that has not begun or is blocked, end as cancelled at once. A running task''s worker is told within its heartbeat interval, mostly at once, and the task ends as cancelled unless it completes first; a workflow that has begun gets the request as its next event. Option force (true or false): it ends as cancelled at once, whatever it is doing, and with it the tasks and workflows under it, those apart that were started to outlive it; their workers are told, and nothing that they still report is accepted; what somebody has locked at this moment ends with one of the next ticks. Returns the status afterwards: cancelled, running, suspended, blocked, pending, or how it ended before. What has ended does not change. May be repeated. Errors: KR004, KR005, KR008, 22023.';

revoke all on function currant.cancel(uuid, text, jsonb) from public;
grant execute on function currant.cancel(uuid, text, jsonb) to currant_client, currant_admin;

commit;

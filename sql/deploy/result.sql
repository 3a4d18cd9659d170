-- Deploy currant:result to pg
-- requires: status

begin;

create or replace function currant.result(execution uuid)
returns jsonb
language plpgsql
stable
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    _state currant.execution_state := currant.status(execution);
begin
    if _state.status = 'completed' then
        return _state.result;
    elsif _state.finished_at is null then
        raise exception using
            errcode = 'KR006', message = format('execution has not ended yet: %s', _state.status),
            detail = format('execution %s', execution), hint = 'ask again later';
    end if;
    raise exception using
        errcode = 'KR007', message = format('execution ended without a result: %s', _state.status),
        detail = _state.error::text, hint = 'see its status for the attempts; retry runs it again';
end
$$;

comment on function currant.result(uuid) is
'The result of a completed execution. Errors: KR004, KR006 (it has not ended), KR007 (it failed or was cancelled; the error is the detail).';

revoke all on function currant.result(uuid) from public;
grant execute on function currant.result(uuid) to currant_client, currant_worker, currant_observer, currant_admin;

commit;

-- Deploy currant:fail_many to pg
-- requires: complete_many
-- requires: end_execution

begin;

create or replace function currant.fail_many(
    worker uuid,
    executions uuid[],
    tokens bigint[],
    errors jsonb[],
    retry_after interval[] default null
)
returns text[]
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    _now timestamptz := currant._now();
    _bytes bigint;
    _bad text;
    _accepted bigint[];
begin
    perform currant._require_read_committed();
    if cardinality(executions) <> cardinality(tokens) or cardinality(executions) <> cardinality(errors)
        or cardinality(executions) <> cardinality(retry_after)
    then
        raise exception using
            errcode = '22023', message = 'executions, tokens, errors and retry_after differ in number',
            detail = format(
                '%s, %s, %s, %s',
                cardinality(executions), cardinality(tokens), cardinality(errors), cardinality(retry_after)
            ),
            hint = 'give one of each for every failure';
    end if;
    select
        max(pg_column_size(e.value)),
        max(coalesce(left(e.value::text, 100), 'null')) filter (where jsonb_typeof(e.value) is distinct from 'object')
    into _bytes, _bad
    from unnest(errors) as e (value);
    if _bad is not null then
        raise exception using
            errcode = '22023', message = 'an error is not a JSON object', detail = format('error is %s', _bad),
            hint = 'give {"type": …, "message": …, "traceback": …, "retryable": true or false}';
    end if;
    perform currant._check_size('error', _bytes);

    with ended as (
        select l.execution_id, l.token, l.attempt, l.worker_id, l.claimed_at
        from currant._take_leases(worker, executions, tokens, false) as l
    ),
    failed as (
        select e.token, currant._attempt_failed(
            e.execution_id, e.token, e.attempt, e.worker_id, e.claimed_at, t.error - 'enforced',
            case
                when t.retry_after is not null
                    then least(greatest(t.retry_after, interval '0'), interval '100 years')
            end,
            _now
        )
        from ended as e
        cross join lateral (
            select g.error, g.retry_after
            from unnest(executions, tokens, errors, fail_many.retry_after)
                as g (execution_id, token, error, retry_after)
            where g.execution_id = e.execution_id and g.token = e.token
            limit 1
        ) as t
    )
    select array_agg(f.token) into _accepted from failed as f;

    return currant._words(worker, executions, tokens, coalesce(_accepted, '{}'));
end
$$;

comment on function currant.fail_many(uuid, uuid[], bigint[], jsonb[], interval[]) is
'Ends attempts of tasks with errors ({"type", "message", "traceback", "retryable"}). Each is tried again after its retry delay, or after retry_after where that is given, until its attempts are used up or the error says "retryable": false: then it ends as failed. If its cancellation was asked for, it ends as cancelled. Returns one word for each, as complete_many. Errors: 22023, KR005, KR008.';

revoke all on function currant.fail_many(uuid, uuid[], bigint[], jsonb[], interval[]) from public;
grant execute on function currant.fail_many(uuid, uuid[], bigint[], jsonb[], interval[])
to currant_worker, currant_admin;

commit;

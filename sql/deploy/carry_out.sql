-- Deploy currant:carry_out to pg
-- requires: end_workflow
-- requires: enqueue_many
-- requires: signal
-- requires: payload

begin;

create or replace function currant._carry_out(workflow_id uuid, commands jsonb, at timestamptz)
returns void
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    _command jsonb;
    _child uuid;
begin
    insert into currant.delayed (execution_id, kind, number, due_at)
    select
        _carry_out.workflow_id, 'timer', (c.value ->> 'number')::integer,
        greatest(
            _carry_out.at + make_interval(secs => least((c.value -> 'payload' ->> 'seconds')::double precision, 3155760000)),
            currant._now()
        )
    from jsonb_array_elements(commands) as c (value)
    where c.value ->> 'kind' = 'timer';

    for _command in
        select c.value
        from jsonb_array_elements(commands) as c (value)
        where c.value ->> 'kind' in ('cancel', 'queue', 'signal')
    loop
        case _command ->> 'kind'
            when 'cancel' then
                delete from currant.delayed as d
                where d.ctid = any (array(
                    select c.ctid from currant.delayed as c
                    where
                        c.execution_id = _carry_out.workflow_id and c.kind = 'timer'
                        and c.number = (_command ->> 'number')::integer
                    for update skip locked
                ));
                if not found then
                    select e.id into _child
                    from currant.executions as e
                    where
                        e.parent_id = _carry_out.workflow_id
                        and e.command_number = (_command ->> 'number')::integer;
                    if found then
                        perform currant._cancel_task(_child, 'cancelled by its workflow', at);
                    end if;
                end if;
            when 'queue' then
                perform currant._check_options(
                    coalesce(_command -> 'payload' -> 'options', '{}'),
                    currant._enqueue_options(array['key', 'key_scope'])
                );
                perform currant._enqueue(
                    _command ->> 'name',
                    array[coalesce(_command -> 'payload' -> 'args', '{}')],
                    coalesce(_command -> 'payload' -> 'options', '{}') - 'key',
                    array[(_command -> 'payload' ->> 'id')::uuid],
                    case
                        when _command -> 'payload' -> 'options' ->> 'key' is not null
                            then array[_command -> 'payload' -> 'options' ->> 'key']
                    end,
                    'default'
                );
            when 'signal' then
                perform currant._check_signal_name(_command ->> 'name');
                perform currant._check_size('payload', pg_column_size(_command -> 'payload' -> 'payload'));
                perform currant._deliver(
                    (_command -> 'payload' ->> 'execution')::uuid,
                    _command ->> 'name',
                    coalesce(_command -> 'payload' -> 'payload', 'null'),
                    (_command -> 'payload' ->> 'id')::uuid
                );
        end case;
    end loop;
end
$$;

comment on function currant._carry_out(uuid, jsonb, timestamptz) is
'Does what a workflow''s commands say, except starting tasks and ending it: timers, cancels, independent executions, signals to others (one to a workflow that has ended goes nowhere).';

revoke all on function currant._carry_out(uuid, jsonb, timestamptz) from public;

commit;

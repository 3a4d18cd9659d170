-- Deploy currant:register_worker to pg
-- requires: workers
-- requires: register_functions
-- requires: enter_worker
-- requires: uuid7

begin;

create or replace function currant.register_worker(options jsonb)
returns uuid
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    _known constant text[] := array[
        'id', 'host', 'pid', 'queues', 'concurrency', 'functions', 'heartbeat_timeout'
    ];
    _now timestamptz := currant._now();
    _id uuid;
    _bad text;
begin
    perform currant._require_read_committed();
    perform currant._check_options(options, _known);
    select format('option %s has to be %s', o.name, o.wanted) into _bad
    from (values
        ('host', 'string', 'a text'),
        ('pid', 'number', 'a number'),
        ('queues', 'array', 'an array of texts'),
        ('concurrency', 'number', 'a number'),
        ('functions', 'array', 'an array of objects')
    ) as o (name, type, wanted)
    where coalesce(jsonb_typeof(options -> o.name), 'null') not in (o.type, 'null');
    if found then
        raise exception using
            errcode = '22023', message = _bad, detail = _bad, hint = 'known options: ' || array_to_string(_known, ', ');
    end if;

    _id := coalesce((options ->> 'id')::uuid, currant._uuid7());
    insert into currant.workers as w (
        id, host, pid, queues, concurrency, heartbeat_timeout, started_at, heartbeat_at
    ) values (
        _id,
        coalesce(options ->> 'host', ''),
        (options ->> 'pid')::integer,
        array(
            select q.name
            from jsonb_array_elements_text(coalesce(nullif(options -> 'queues', 'null'), '[]')) as q (name)
        ),
        coalesce((options ->> 'concurrency')::integer, 1),
        coalesce(currant._duration('heartbeat_timeout', options -> 'heartbeat_timeout'), interval '30 seconds'),
        _now,
        _now
    )
    on conflict on constraint workers_pkey do nothing;
    if options -> 'functions' <> 'null' then
        perform currant.register_functions(options -> 'functions');
    end if;
    return _id;
end
$$;

comment on function currant.register_worker(jsonb) is
'Makes a worker known, and stores the declarations of its functions. Options: id (a UUID made by the caller: the call may be repeated), host, pid, queues (array of names it is notified of), concurrency, functions (as for register_functions), heartbeat_timeout (seconds or interval, default 30: after that long without a heartbeat it is declared dead and its work is given to others). Returns its id. Errors: 22023, KR008.';

revoke all on function currant.register_worker(jsonb) from public;
grant execute on function currant.register_worker(jsonb) to currant_worker, currant_admin;

commit;

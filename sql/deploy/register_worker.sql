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
    _heartbeat_timeout interval;
begin
    perform currant._require_read_committed();
    perform currant._check_options(options, _known);
    _heartbeat_timeout := coalesce(
        currant._duration('heartbeat_timeout', options -> 'heartbeat_timeout'), interval '30 seconds'
    );
    if _heartbeat_timeout <= interval '0' then
        raise exception using
            errcode = '22023', message = 'option heartbeat_timeout has to be more than nothing',
            detail = 'heartbeat_timeout', hint = 'give seconds as a number over 0, or an interval';
    end if;

    _id := coalesce((options ->> 'id')::uuid, currant._uuid7());
    insert into currant.workers as w (
        id, host, pid, queues, concurrency, heartbeat_timeout, started_at, heartbeat_at
    ) values (
        _id,
        coalesce(options ->> 'host', ''),
        (options ->> 'pid')::numeric::integer,
        array(
            select q.name
            from jsonb_array_elements_text(coalesce(nullif(options -> 'queues', 'null'), '[]')) as q (name)
        ),
        coalesce((options ->> 'concurrency')::numeric::integer, 1),
        _heartbeat_timeout,
        _now,
        _now
    )
    on conflict on constraint workers_pkey do nothing;
    if exists (select from currant.workers as w where w.id = _id and w.died_at is not null) then
        raise exception using
            errcode = 'KR002', message = 'worker was declared dead', detail = format('worker %s', _id),
            hint = 'stop what it is running, and register under a new id';
    end if;
    if options -> 'functions' <> 'null' then
        insert into currant.worker_functions as f (worker_id, function, version)
        select _id, d.value ->> 'name', coalesce((d.value ->> 'version')::numeric::integer, 1)
        from jsonb_array_elements(options -> 'functions') as d (value)
        where d.value ->> 'name' is not null
        on conflict on constraint worker_functions_pkey do nothing;
        perform currant.register_functions(options -> 'functions');
    end if;
    return _id;
end
$$;

comment on function currant.register_worker(jsonb) is
'Makes a worker known, and stores the declarations of its functions, which are what it can run. Options: id (a UUID made by the caller: the call may be repeated), host, pid, queues (array of names it is notified of), concurrency, functions (as for register_functions), heartbeat_timeout (seconds or interval, default 30: after that long without a heartbeat it is declared dead and its work is given to others). Returns its id. Errors: 22023, KR002 (a worker of this id was declared dead: take a new id), KR008.';

revoke all on function currant.register_worker(jsonb) from public;
grant execute on function currant.register_worker(jsonb) to currant_worker, currant_admin;

commit;

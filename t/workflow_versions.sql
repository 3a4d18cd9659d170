-- workflow_versions: open runs by the version of each change that they have recorded.

begin;

\ir lib/helpers.psql

select plan(8);

select test.stop_clock('2030-01-01 00:00:00+00');
select test.worker('versions') as worker \gset
create function test.run(n integer, function text) returns uuid language sql as $$
    select currant.enqueue(
        function, '{}', jsonb_build_object(
            'queue', 'versions ' || n, 'kind', 'workflow',
            'id', '00000000-0000-7000-8000-0000000f' || lpad(n::text, 4, '0')
        )
    )
$$;
create function test.marker(change text, version integer, event integer default 1) returns jsonb language sql as $$
    select test.command(null, 'version', change, jsonb_build_object('version', version), event)
$$;
create function test.versions(of text default null) returns setof text language sql as $$
    select format(
        '%s %s %s: %s, %s', v.function, coalesce(v.change_id, '-'), coalesce(v.version::text, '-'), v.runs,
        right(v.oldest_id::text, 2)
    )
    from currant.workflow_versions as v
    where v.function = coalesce(of, v.function)
    order by v.function, v.change_id nulls last, v.version nulls first
$$;
create function test.begin_run(worker uuid, n integer, function text, variadic commands jsonb[]) returns text
language sql as $$
    select test.activate(worker, test.run(n, function), to_jsonb(commands))
$$;

select is_empty($$ select test.versions() $$, 'without runs there is nothing');
select test.run(1, 'f') as fresh \gset
select is_empty($$ select test.versions() $$, 'a run that has not begun will go by the newest code');

select test.begin_run(:'worker', 12, 'f', test.marker('sms', 2), test.marker('tax', 1)) as word \gset
select test.begin_run(:'worker', 11, 'f', test.marker('sms', 2)) as word \gset
select test.begin_run(:'worker', 13, 'f', test.marker('sms', 1)) as word \gset
select test.begin_run(:'worker', 14, 'f', test.command(1, 'timer', null, '{"seconds": 60}')) as word \gset
select test.begin_run(:'worker', 15, 'g', test.marker('sms', 7)) as word \gset
select test.begin_run(:'worker', 16, 'h', test.command(1, 'timer', null, '{"seconds": 60}')) as word \gset
select results_eq(
    $$ select test.versions('f') $$,
    array['f sms -: 1, 14', 'f sms 1: 1, 13', 'f sms 2: 2, 11', 'f tax -: 3, 11', 'f tax 1: 1, 12', 'f - -: 1, 14'],
    'open runs are counted by version, those without the marker, too, each time with the oldest'
);
select results_eq($$ select test.versions('g') $$, array['g sms 7: 1, 15'], 'for each function by itself');
select results_eq($$ select test.versions('h') $$, array['h - -: 1, 16'], 'also where no run has any marker');

select currant.cancel('00000000-0000-7000-8000-0000000f0011', null, '{"force": true}') as word \gset
select results_eq(
    $$ select test.versions('f') $$,
    array['f sms -: 1, 14', 'f sms 1: 1, 13', 'f sms 2: 1, 12', 'f tax -: 2, 13', 'f tax 1: 1, 12', 'f - -: 1, 14'],
    'those that have ended do not count'
);

select currant.signal('00000000-0000-7000-8000-0000000f0012', 's') as arrival \gset
select test.activate(
    :'worker', '00000000-0000-7000-8000-0000000f0012',
    test.command(null, 'continue_as_new', null, '{"args": {}, "signals": []}', 2)
) as word \gset
select results_eq(
    $$ select test.versions('f') $$,
    array['f sms -: 1, 14', 'f sms 1: 1, 13', 'f - -: 1, 14'], 'a run that is about to continue has no markers'
);
select test.activate(
    :'worker', '00000000-0000-7000-8000-0000000f0012', test.marker('tax', 3, 3)
) as word \gset
select results_eq(
    $$ select test.versions('f') $$,
    array['f sms -: 2, 12', 'f sms 1: 1, 13', 'f tax -: 2, 13', 'f tax 3: 1, 12', 'f - -: 1, 14'],
    'and then those of its present run'
);

select * from finish();
rollback;

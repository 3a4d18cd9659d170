-- register_functions: declarations are the defaults of enqueue. Call > declaration > configured default.

begin;

\ir lib/helpers.psql

select plan(27);

select test.stop_clock('2030-01-01 00:00:00+00');
create function test.policy(options jsonb default '{}') returns text language plpgsql as $$
declare
    _id uuid := currant.enqueue('declared', '{}', options);
begin
    return (
        select format(
            '%s v%s %s p%s, %s attempts of %s, then %s * %s up to %s', e.kind, e.version, e.queue, e.priority,
            e.max_attempts, e.timeout, e.retry_delay, e.retry_backoff, e.retry_max_delay
        )
        from currant.executions as e where e.id = _id
    );
end
$$;

select is(currant.register_functions('[{"name": "declared", "queue": "declared"}]'), 1, 'one function is declared');
select is(
    test.policy(), 'task v1 declared p0, 4 attempts of 00:05:00, then 00:00:01 * 2 up to 00:05:00',
    'what it does not say is as configured'
);
select is(
    currant.register_functions('[{"name": "declared", "queue": "declared", "version": 2, "priority": 4, "retries": 9,
        "timeout": "2 minutes", "retry_delay": 3, "retry_backoff": 1.5, "retry_max_delay": 60}]'),
    1, 'it may say everything'
);
select is(
    test.policy(), 'task v2 declared p4, 10 attempts of 00:02:00, then 00:00:03 * 1.5 up to 00:01:00',
    'the declaration counts for more than the configured defaults'
);
select is(
    test.policy('{"version": 5, "queue": "mine", "priority": -1, "retries": 0, "timeout": 1, "retry_delay": 0,
        "retry_backoff": 1, "retry_max_delay": 5}'),
    'task v5 mine p-1, 1 attempts of 00:00:01, then 00:00:00 * 1 up to 00:00:05',
    'the call counts for more than the declaration'
);
select is(
    test.policy('{"priority": 0, "queue": null}'),
    'task v2 declared p0, 10 attempts of 00:02:00, then 00:00:03 * 1.5 up to 00:01:00',
    'null in the call means not given, 0 is a value'
);
select is(
    currant.register_functions('[{"name": "declared", "queue": "old", "version": 1}]'), 1, 'an old worker may declare'
);
select is(
    (select version from currant.functions where name = 'declared'), 2, 'but a version is never lowered'
);
select is((select queue from currant.functions where name = 'declared'), 'declared', 'nor anything else then');
select currant.register_functions('[{"name": "declared", "queue": "declared", "version": 2, "retries": 1}]') as n \gset
select is(
    test.policy(), 'task v2 declared p0, 2 attempts of 00:05:00, then 00:00:01 * 2 up to 00:05:00',
    'the same version declared again replaces the declaration'
);
select is(
    currant.register_functions('[{"name": "flow", "kind": "workflow"}, {"name": "step"}]'), 2,
    'many are declared together'
);
select currant.enqueue('flow') as flow \gset
select is((currant.status(:'flow')).kind, 'workflow', 'a workflow is known as one');
select is((currant.status(:'flow')).queue, 'default', 'without a queue it is the default one');
select is(
    (select timeout from currant.executions where id = :'flow'), '1 hour', 'it has the timeout of workflows'
);
select is(currant.register_functions('[]'), 0, 'nothing to declare is no error');
select is(
    currant.register_functions('[{"name": "nulls", "queue": null, "version": null, "retries": null, "timeout": null}]'),
    1, 'null means not said'
);

select throws_ok(
    format($$ select currant.register_functions(%L) $$, f.functions), '22023', null, format('refused: %s', f.functions)
)
from (values
    ('{}'), (null), ('[{}]'), ('[5]'), ('["f"]'), ('[{"name": ""}]'), ('[{"name": "f", "prio": 1}]'),
    ('[{"name": "f", "kind": "job"}]'), ('[{"name": "f", "timeout": "soon"}]'), ('[{"name": "f", "queue": ""}]')
) as f (functions);

select is((select count(*) from currant.functions where name = 'f'), 0::bigint, 'what was refused is not stored');

select * from finish();
rollback;

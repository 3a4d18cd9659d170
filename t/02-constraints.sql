-- What the private tables refuse, also with the conditions that only tests have, and how they are stored.

begin;

\ir ../tests/support/constraints.sql

select plan(13);

select index_is_unique('currant', 'executions', 'executions_retry_of_idx', 'there is one retry of each execution');

create function pg_temp.state_of(statement text) returns text language plpgsql as $$
begin
    execute statement;
    return 'accepted';
exception when others then
    return sqlstate;
end
$$;

select is(pg_temp.state_of(c.statement), c.state, c.sentence)
from (values
    ('insert into currant.configuration default values', '23505', 'there is one configuration'),
    ('insert into currant.configuration (is_only) values (false)', '23514', 'there is no second kind of configuration'),
    ('update currant.configuration set max_payload_bytes = 0', '23514', 'a payload may have some size'),
    ('insert into currant.ticker default values', '23505', 'there is one ticker'),
    ($$ insert into currant.outcomes (execution_id, status, attempt, finished_at)
        values (gen_random_uuid(), 'failed', 1, now()) $$, '23514', 'a failure has an error'),
    ($$ insert into currant.outcomes (execution_id, status, error, attempt, finished_at)
        values (gen_random_uuid(), 'completed', '{}', 1, now()) $$, '23514', 'a completion has no error'),
    ($$ insert into currant.outcomes (execution_id, status, attempt, finished_at)
        values (gen_random_uuid(), 'done', 1, now()) $$, '23514', 'other ends are not known'),
    ($$ insert into currant.delayed (execution_id, kind, due_at)
        values (gen_random_uuid(), 'nap', now()) $$, '23514', 'other reasons to wait are not known'),
    ($$ insert into currant.inbox (workflow_id, kind, arrived_at)
        values (gen_random_uuid(), 'mail', now()) $$, '23514', 'other events are not known'),
    ($$ insert into currant.functions (name, kind, version, queue, registered_at)
        values ('f', 'job', 1, 'q', now()) $$, '23514', 'other kinds of function are not known'),
    ($$ insert into currant.workers (id, host, queues, concurrency, heartbeat_timeout, started_at, heartbeat_at)
        values (gen_random_uuid(), '', '{}', 1, '0', now(), now()) $$, '23514',
        'a worker has some time for its heartbeat')
) as c (statement, state, sentence);

select is_empty(
    $$
    select c.relname from pg_class as c
    where c.oid in ('currant.ready'::regclass, 'currant.leases'::regclass, 'currant.delayed'::regclass)
    and not c.reloptions @> array['vacuum_truncate=off', 'autovacuum_vacuum_scale_factor=0']
    $$,
    'the small busy tables are vacuumed by number of dead rows, and never truncated under a lock'
);

select * from finish();
rollback;


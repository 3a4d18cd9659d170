-- How long it takes until the next attempt: exponential, jittered, capped, the same for every kind of bad end.

begin;

\ir ../lib/helpers.psql

select plan(20);

select test.stop_clock('2030-01-01 00:00:00+00');
select test.worker('delay') as worker \gset

create function test.delays(options jsonb, failures integer, retry_after interval default null)
returns interval[] language plpgsql as $$
declare
    _worker uuid := test.worker('delay');
    _id uuid := currant.enqueue('f', '{}', '{"queue": "delay"}' || options);
    _token bigint;
    _delays interval[];
begin
    for _i in 1 .. failures loop
        select c.token into strict _token from currant.claim(_worker, '{delay}', 1) as c;
        perform currant.fail(_worker, _id, _token, '{"type": "E"}', retry_after);
        _delays := _delays || coalesce((currant.status(_id)).due_at - currant._now(), '0');
        perform test.pass(_delays[_i]);
        perform currant.tick('due');
    end loop;
    perform currant.cancel(_id);
    return _delays;
end
$$;

select ok(
    d.delay between w.most / 2 and w.most,
    format('the delay after failure %s is between half of %s and all of it', d.n, w.most)
)
from unnest(test.delays('{"retries": 9, "retry_delay": 10, "retry_backoff": 3, "retry_max_delay": 60}', 4))
    with ordinality as d (delay, n)
join (values (1, interval '10 seconds'), (2, '30 seconds'), (3, '60 seconds'), (4, '60 seconds')) as w (n, most)
    on w.n = d.n;

select ok(d[1] between '500 milliseconds' and '1 second', 'the configured delay is a second')
from test.delays('{"retries": 1}', 1) as d;
update currant.configuration set default_retry_delay = '20 seconds';
select ok(d[1] between '10 seconds' and '20 seconds', 'and can be changed') from test.delays('{"retries": 1}', 1) as d;
select cmp_ok(
    (select count(distinct (test.delays('{"retries": 1, "retry_delay": 100}', 1))[1]) from generate_series(1, 5)),
    '>', 1::bigint, 'what failed together does not come back together'
);
select is(
    test.delays('{"retries": 3, "retry_delay": 0}', 2), array['0', '0']::interval[], 'without delay it is tried at once'
);
select is(
    test.delays('{"retries": 3, "retry_delay": 10}', 1, '7 minutes'), array['7 minutes']::interval[],
    'retry_after says exactly how long'
);
select is(
    test.delays('{"retries": 3, "retry_delay": 10}', 1, '0'), array['0']::interval[], 'also at once'
);

-- The formula at its borders.
select ok(
    currant._retry_delay(base, backoff, cap, attempt) between cap / 2 and cap,
    format('%s grown by %s at attempt %s stays within %s', base, backoff, attempt, cap)
)
from (values
    (interval '3 hours', 2::double precision, interval '5 minutes', 31),
    ('1 second', 1000000, '5 minutes', 60),
    ('1 second', 1000000, '5 minutes', 1000000),
    ('100 years', 1000000, '100 years', 1000000),
    ('1 millisecond', 2, '1 day', 1000)
) as c (base, backoff, cap, attempt);
select is(currant._retry_delay('0', 2, '5 minutes', 1000000), '0', 'nothing stays nothing');
select ok(
    currant._retry_delay('10 seconds', 1, '5 minutes', 100) between '5 seconds' and '10 seconds',
    'a backoff of 1 is constant'
);

-- A worker that is lost, and a timeout.
create function test.delay_after(what text) returns interval language plpgsql as $$
declare
    _worker uuid := test.worker('delay');
    _id uuid := currant.enqueue(
        'f', '{}', '{"queue": "delay", "retry_delay": 1000, "retry_max_delay": "1 hour", "timeout": 10}'
    );
begin
    perform currant.claim(_worker, '{delay}', 1);
    perform test.pass(case what when 'timeout' then interval '20 seconds' else '31 seconds' end);
    if what = 'timeout' then
        perform currant.heartbeat(_worker, '{}', '{}');
    end if;
    perform test.keep_steady();
    perform currant.tick('recover');
    return (currant.status(_id)).due_at - currant._now();
end
$$;
select ok(d between '500 seconds' and '1000 seconds', 'a timeout is followed by the same delay')
from test.delay_after('timeout') as d;
select ok(d between '500 seconds' and '1000 seconds', 'so is the loss of a worker')
from test.delay_after('lost worker') as d;

select is(
    (select count(*) from currant.delayed as d join currant.executions as e on e.id = d.execution_id
    where e.queue = 'delay' and d.kind = 'retry'), 2::bigint, 'both wait for their next attempt'
);

select * from finish();
rollback;

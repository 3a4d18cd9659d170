-- Deploy currant:retry_delay to pg
-- requires: schema

begin;

-- Equal jitter (M. Brooker, "Exponential Backoff and Jitter", AWS Architecture Blog, 2015): half of the delay is
-- certain, half random, so that what failed together does not come back together. The exponent is bounded, since
-- power() overflows long before any cap is reached.
create or replace function currant._retry_delay(
    base interval,
    backoff double precision,
    max_delay interval,
    attempt integer
)
returns interval
language sql
volatile
begin atomic
    select least(base * least(power(backoff, least(attempt - 1, 60)), 1e9), max_delay) * (0.5 + random() / 2);
end;

comment on function currant._retry_delay(interval, double precision, interval, integer) is
'How long to wait after the given attempt failed: base * backoff^(attempt - 1), at most max_delay, of which a random half to whole is taken.';

revoke all on function currant._retry_delay(interval, double precision, interval, integer) from public;

commit;

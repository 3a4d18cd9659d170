-- Deploy currant:retry_delay to pg
-- requires: schema

begin;

-- Equal jitter (M. Brooker, "Exponential Backoff and Jitter", AWS Architecture Blog, 2015): half of the delay is
-- certain, half random, so that what failed together does not come back together. Computed as a logarithm of
-- seconds and bounded there, since the power itself overflows.
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
    select
        case
            when base <= interval '0' then interval '0'
            else least(
                make_interval(secs => exp(least(ln(extract(epoch from base)) + (attempt - 1) * ln(backoff), 23))),
                max_delay
            ) * (0.5 + random() / 2)
        end;
end;

comment on function currant._retry_delay(interval, double precision, interval, integer) is
'How long to wait after the given attempt failed: base * backoff^(attempt - 1), at most max_delay, of which a random half to whole is taken.';

revoke all on function currant._retry_delay(interval, double precision, interval, integer) from public;

commit;

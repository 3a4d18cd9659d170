-- Deploy currant:ticker to pg
-- requires: schema

begin;

create table currant.ticker (
    is_only boolean not null default true,
    ticked_at timestamptz not null default '-infinity',
    steady_since timestamptz not null default 'infinity',
    swept_at timestamptz not null default '-infinity',
    sweep_took interval not null default interval '0',
    swept_to timestamptz not null default '-infinity',
    enforced_at timestamptz not null default '-infinity',
    constraint ticker_pkey primary key (is_only),
    constraint ticker_is_one_row check (is_only)
)
with (fillfactor = 10, vacuum_truncate = off);

comment on table currant.ticker is
'One row: when maintenance last ran and since when it has been running steadily.';
comment on column currant.ticker.steady_since is
'After a gap in the ticks (database down, failover) everybody first gets the chance to come back: no worker is declared dead for one heartbeat timeout, and deadlines of what ran during the gap wait too.';
comment on column currant.ticker.swept_to is
'Nothing due before this was left by the last full sweep: where the next one starts, so that it need not walk over dead index entries.';

comment on column currant.ticker.enforced_at is
'When all leases were last looked through for passed deadlines; in between only recent deadlines are.';

insert into currant.ticker default values;

commit;

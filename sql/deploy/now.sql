-- Deploy currant:now to pg
-- requires: schema

begin;

-- The only clock of the schema, so that a test can replace it.
create or replace function currant._now()
returns timestamptz
language sql
volatile
begin atomic
    select clock_timestamp();
end;

comment on function currant._now() is
'The database''s clock; it moves within a transaction.';

revoke all on function currant._now() from public;

commit;

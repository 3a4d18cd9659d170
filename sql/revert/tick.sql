-- Revert currant:tick from pg

begin;

drop function currant.tick(text);
drop function currant._reap(timestamptz, timestamptz, integer);
drop function currant._enforce_deadlines(timestamptz, timestamptz, timestamptz, integer);
drop function currant._lose_lease(currant.leases, jsonb, timestamptz);
drop function currant._move_due(timestamptz, timestamptz, integer, timestamptz);
drop function currant._check_deadline(uuid, timestamptz, timestamptz);

commit;

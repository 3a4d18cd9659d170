-- Revert currant:recover from pg

begin;

drop function currant._reap(timestamptz, timestamptz, integer);
drop function currant._enforce_deadlines(timestamptz, timestamptz, timestamptz, integer);
drop function currant._lose_lease(currant.leases, jsonb, timestamptz);

commit;

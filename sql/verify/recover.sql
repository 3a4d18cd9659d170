-- Verify currant:recover on pg

begin;

select 'currant._lose_lease(currant.leases, jsonb, timestamptz)'::regprocedure;

select 'currant._enforce_deadlines(timestamptz, timestamptz, timestamptz, integer)'::regprocedure;

select 'currant._reap(timestamptz, timestamptz, integer)'::regprocedure;

rollback;

-- Verify currant:tick on pg

begin;

select 'currant._check_deadline(uuid, timestamptz, timestamptz)'::regprocedure;

select 'currant._move_due(timestamptz, timestamptz, integer, timestamptz)'::regprocedure;

select 'currant._lose_lease(currant.leases, jsonb, timestamptz)'::regprocedure;

select 'currant._enforce_deadlines(timestamptz, timestamptz, timestamptz, integer)'::regprocedure;

select 'currant._reap(timestamptz, timestamptz, integer)'::regprocedure;

select 'currant.tick(text)'::regprocedure;

rollback;

-- Verify currant:move_due on pg

begin;

select 'currant._check_deadline(uuid, timestamptz, timestamptz)'::regprocedure;

select 'currant._move_due(timestamptz, timestamptz, integer, timestamptz)'::regprocedure;

rollback;

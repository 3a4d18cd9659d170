-- Verify currant:end_execution on pg

begin;

select 'currant._end_unsuccessfully(uuid, text, jsonb, integer, bigint, uuid, timestamptz, timestamptz)'::regprocedure;

select 'currant._attempt_failed(uuid, bigint, integer, uuid, timestamptz, jsonb, interval, timestamptz)'::regprocedure;

select 'currant._cancelled_error(text)'::regprocedure;

rollback;

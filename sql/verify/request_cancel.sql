-- Verify currant:request_cancel on pg

begin;

select 'currant._is_idle(uuid)'::regprocedure;

select 'currant._end_idle(uuid, text, timestamptz)'::regprocedure;

select 'currant._ask_to_end(uuid, text, timestamptz)'::regprocedure;

select 'currant._request_cancel(uuid, text, timestamptz)'::regprocedure;

rollback;

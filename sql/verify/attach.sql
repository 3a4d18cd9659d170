-- Verify currant:attach on pg

begin;

select 'currant._attach(uuid, integer, uuid, timestamptz)'::regprocedure;

select 'currant._detach(uuid, integer)'::regprocedure;

select 'currant._next_transaction()'::regprocedure;

select 'currant._check_attachment(uuid, integer, integer, text, timestamptz)'::regprocedure;

select 'currant._is_told(uuid, integer)'::regprocedure;

rollback;

-- Verify currant:continue_as_new on pg

begin;

select 'currant._continue_as_new(uuid, timestamptz)'::regprocedure;

rollback;

-- Verify currant:carry_out on pg

begin;

select 'currant._carry_out(uuid, jsonb, timestamptz)'::regprocedure;

rollback;

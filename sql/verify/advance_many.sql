-- Verify currant:advance_many on pg

begin;

select 'currant.advance_many(uuid, jsonb[])'::regprocedure;

rollback;

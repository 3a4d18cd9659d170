-- Verify currant:advance on pg

begin;

select 'currant._put_back(uuid, jsonb, boolean)'::regprocedure;

select 'currant._advance(uuid, uuid, bigint, integer, bigint[], jsonb, jsonb)'::regprocedure;

select 'currant.advance(uuid, uuid, bigint, integer, bigint[], jsonb, jsonb)'::regprocedure;

rollback;

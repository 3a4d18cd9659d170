-- Verify currant:release_many on pg

begin;

select 'currant._backoff(timestamptz, timestamptz, interval)'::regprocedure;

select 'currant._block_workflow(uuid, text, timestamptz)'::regprocedure;

select 'currant._make_ready(uuid, integer)'::regprocedure;

select 'currant._is_for_another(uuid, uuid, timestamptz)'::regprocedure;

select 'currant._give_back(uuid, uuid, integer, boolean, text, timestamptz)'::regprocedure;

select 'currant.release_many(uuid, uuid[], bigint[], text[])'::regprocedure;

rollback;

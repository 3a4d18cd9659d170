-- Revert currant:release_many from pg

begin;

drop function currant.release_many(uuid, uuid[], bigint[], text[]);
drop function currant._give_back(uuid, uuid, integer, boolean, text, timestamptz);
drop function currant._is_for_another(uuid, uuid, timestamptz);
drop function currant._make_ready(uuid, integer);
drop function currant._block_workflow(uuid, text, timestamptz);
drop function currant._backoff(timestamptz, timestamptz, interval);

commit;

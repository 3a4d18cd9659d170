-- Revert currant:heartbeat from pg

begin;

drop function currant.heartbeat(uuid, uuid[], bigint[], jsonb[]);

commit;

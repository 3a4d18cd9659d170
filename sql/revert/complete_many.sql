-- Revert currant:complete_many from pg

begin;

drop function currant.complete_many(uuid, uuid[], bigint[], jsonb[]);
drop function currant._words(uuid, uuid[], bigint[], bigint[]);
drop function currant._take_leases(uuid, uuid[], bigint[], boolean);

commit;

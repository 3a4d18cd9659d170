-- Revert currant:fail_many from pg

begin;

drop function currant.fail_many(uuid, uuid[], bigint[], jsonb[], interval[]);

commit;

-- Revert currant:claim from pg

begin;

drop function currant.claim(uuid, text[], integer, integer, jsonb);
drop function currant._claimed(uuid, uuid[], bigint[], integer[], bigint[]);
drop function currant._continued(uuid, integer);
drop function currant._inbox_of(uuid);

commit;

-- Revert currant:claim from pg

begin;

drop function currant.claim(uuid, text[], integer, integer, jsonb);
drop function currant._claimed(uuid, uuid[], bigint[], integer[], bigint[]);
drop function currant._inbox_of(uuid);
drop function currant._admit_workflows(currant._taken, uuid[]);
drop function currant._take(text, boolean, integer, jsonb);

commit;

-- Revert currant:advance from pg

begin;

drop function currant.advance(uuid, uuid, bigint, integer, bigint[], jsonb, jsonb);
drop function currant._advance(uuid, uuid, bigint, integer, bigint[], jsonb, jsonb);
drop function currant._put_back(uuid, jsonb, boolean);

commit;

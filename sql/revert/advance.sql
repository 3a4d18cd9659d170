-- Revert currant:advance from pg

begin;

drop function currant.advance(uuid, uuid, bigint, integer, bigint[], jsonb, jsonb);
drop function currant._advance(uuid, jsonb);
drop function currant._answers(uuid, currant._activation[], currant._activation[], uuid[], timestamptz);
drop function currant._accept_leased(uuid, currant._activation[], uuid[]);
drop function currant._is_end_premature(uuid, jsonb, bigint[]);
drop function currant._decline(uuid, currant._activation, boolean, timestamptz);
drop function currant._lock_workflows(currant._activation[]);
drop function currant._try_keys(jsonb);

commit;

-- Revert currant:step_many from pg

begin;

drop function currant.step_many(uuid, jsonb, jsonb);
drop function currant._accept_ahead(currant._activation[], uuid[], currant._ended, timestamptz);
drop function currant._complete_steps(uuid, uuid[], bigint[], jsonb[], timestamptz);

commit;

-- Revert currant:carry_out from pg

begin;

drop function currant._carry_out(uuid, jsonb, timestamptz);

commit;

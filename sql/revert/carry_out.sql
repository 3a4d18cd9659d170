-- Revert currant:carry_out from pg

begin;

drop function currant._carry_out(uuid, jsonb, boolean, timestamptz);
drop function currant._start_keyed_child(uuid, jsonb, timestamptz);
drop function currant._target(uuid);
drop function currant._cancel_command(uuid, integer, timestamptz);

commit;

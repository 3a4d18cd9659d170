-- Revert currant:apply_activations from pg

begin;

drop function currant._apply_activations(uuid, currant._activation[], currant.leases[], bigint[], text[], integer, timestamptz);
drop function currant._commands_of(currant._activation[]);
drop function currant._put_back(uuid, jsonb, boolean);

commit;

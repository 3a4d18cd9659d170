-- Revert currant:apply_activations from pg

begin;

drop function currant._apply_activations(uuid, currant._activation[], currant._ended, text[], integer, timestamptz);
drop function currant._commands_of(currant._activation[]);
drop function currant._put_back(uuid, jsonb, boolean);

commit;

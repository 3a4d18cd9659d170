-- Revert currant:start_children from pg

begin;

drop function currant._start_children(uuid, uuid, text, jsonb[], timestamptz);
drop function currant._to_start(jsonb, boolean, boolean);

commit;

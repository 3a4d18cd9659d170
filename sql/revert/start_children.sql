-- Revert currant:start_children from pg

begin;

drop function currant._start_children(currant._command[], uuid, text[], integer, timestamptz);
drop function currant._policy_of_child(text, text, jsonb, text);
drop function currant._to_start(currant._command[], uuid[]);
drop function currant._keyed_to_start(jsonb, boolean);

commit;

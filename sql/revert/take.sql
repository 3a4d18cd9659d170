-- Revert currant:take from pg

begin;

drop function currant._take(text, boolean, integer, integer, jsonb);
drop function currant._stocked(text[], boolean);

commit;

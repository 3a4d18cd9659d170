-- Revert currant:not_found from pg

begin;

drop function currant._raise_not_found(uuid);

commit;

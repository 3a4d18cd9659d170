-- Revert currant:result from pg

begin;

drop function currant.result(uuid);

commit;

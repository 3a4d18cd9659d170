-- Revert currant:payload from pg

begin;

drop function currant._check_size(text, bigint);

commit;

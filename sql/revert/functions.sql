-- Revert currant:functions from pg

begin;

drop table currant.functions;

commit;

-- Revert currant:ticker from pg

begin;

drop table currant.ticker;

commit;

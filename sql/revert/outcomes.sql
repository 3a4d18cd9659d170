-- Revert currant:outcomes from pg

begin;

drop table currant.outcomes;

commit;

-- Revert currant:attempts from pg

begin;

drop table currant.progress;
drop table currant.attempts;

commit;

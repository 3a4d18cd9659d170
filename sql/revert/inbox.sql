-- Revert currant:inbox from pg

begin;

drop table currant.signal_ids;
drop table currant.inbox;

commit;

-- Revert currant:attach from pg

begin;

drop function currant._is_told(uuid, integer);
drop function currant._check_attachment(uuid, integer, integer, text, timestamptz);
drop function currant._next_transaction();
drop function currant._detach(uuid, integer);
drop function currant._attach(uuid, integer, uuid, timestamptz);

commit;

-- Revert currant:move_due from pg

begin;

drop function currant._move_due(timestamptz, timestamptz, integer, timestamptz);
drop function currant._check_deadline(uuid, timestamptz, timestamptz);

commit;

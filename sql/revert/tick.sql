-- Revert currant:tick from pg

begin;

drop function currant.tick(text);

commit;

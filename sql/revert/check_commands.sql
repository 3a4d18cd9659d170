-- Revert currant:check_commands from pg

begin;

drop function currant._check_commands(jsonb[]);

commit;

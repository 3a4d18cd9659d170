-- Revert currant:register_functions from pg

begin;

drop function currant.register_functions(jsonb);

commit;

-- Revert currant:register_worker from pg

begin;

drop function currant.register_worker(jsonb);

commit;

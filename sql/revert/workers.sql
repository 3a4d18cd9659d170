-- Revert currant:workers from pg

begin;

drop table currant.worker_functions;
drop table currant.workers;

commit;

-- Revert currant:notify from pg

begin;

drop trigger outcomes_notify on currant.outcomes;
drop function currant._notify_ended();
drop trigger delayed_notify on currant.delayed;
drop function currant._notify_delayed();
drop trigger ready_notify on currant.ready;
drop function currant._notify_ready();

commit;

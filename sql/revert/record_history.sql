-- Revert currant:record_history from pg

begin;

drop function currant._record_commands(currant._command[]);
drop function currant._record_ends(currant._activation[], currant._ended);
drop function currant._record_arrivals(currant._activation[]);
drop function currant._record_beginnings(currant._activation[]);

commit;

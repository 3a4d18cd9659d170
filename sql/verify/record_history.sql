-- Verify currant:record_history on pg

begin;

select 'currant._record_beginnings(currant._activation[])'::regprocedure;

select 'currant._record_arrivals(currant._activation[])'::regprocedure;

select 'currant._record_ends(currant._activation[], currant._ended)'::regprocedure;

select 'currant._record_commands(currant._command[])'::regprocedure;

rollback;

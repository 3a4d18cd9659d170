-- Revert currant:types from pg

begin;

drop type currant._end;
drop type currant._started;
drop type currant._ended;
drop type currant._command;
drop type currant._activation;
drop type currant._taken;
drop type currant._policy;
drop type currant.tick_result;
drop type currant.heartbeat_answer;
drop type currant.execution_state;
drop type currant.history_entry;
drop type currant.claimed;

commit;

-- Verify currant:types on pg

begin;

select 'currant.claimed'::regtype;

select 'currant.history_entry'::regtype;

select 'currant.execution_state'::regtype;

select 'currant.heartbeat_answer'::regtype;

select 'currant.tick_result'::regtype;

select 'currant._policy'::regtype;

select 'currant._taken'::regtype;

select 'currant._activation'::regtype;

select 'currant._command'::regtype;

select 'currant._ended'::regtype;

select 'currant._started'::regtype;

select 'currant._end'::regtype;

rollback;

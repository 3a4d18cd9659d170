-- Verify currant:policy on pg

begin;

select 'currant._option_rules()'::regprocedure;

select 'currant._check_options(jsonb, text[])'::regprocedure;

select 'currant._enqueue_options(text[])'::regprocedure;

select 'currant._policy(text, jsonb, text)'::regprocedure;

rollback;

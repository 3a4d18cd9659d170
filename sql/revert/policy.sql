-- Revert currant:policy from pg

begin;

drop function currant._policy(text, jsonb, text);
drop function currant._enqueue_options(text[]);
drop function currant._check_options(jsonb, text[]);
drop function currant._option_rules();

commit;

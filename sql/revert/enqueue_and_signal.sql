-- Revert currant:enqueue_and_signal from pg

begin;

drop function currant.enqueue_and_signal(text, jsonb, text, jsonb, jsonb);
drop function currant._start_and_signal(text, jsonb, jsonb, uuid, text, jsonb, uuid, boolean);

commit;

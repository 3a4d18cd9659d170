-- Revert currant:signal from pg

begin;

drop function currant.signal(uuid, text, jsonb, jsonb);
drop function currant._not_delivered(uuid, uuid);
drop function currant._key_holder(text, text);
drop function currant._try_signal_id(uuid);
drop function currant._hold_signal_id(uuid);
drop function currant._signal_id(text, text);
drop function currant._check_signal_name(text);
drop function currant._deliver(uuid, text, jsonb, uuid, jsonb);

commit;

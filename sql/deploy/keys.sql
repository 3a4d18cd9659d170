-- Deploy currant:keys to pg
-- requires: schema

begin;

create table currant.keys (
    function text not null,
    key text not null,
    execution_id uuid not null,
    constraint keys_pkey primary key (function, key)
);

comment on table currant.keys is
'Idempotency: enqueueing a function again under the same key gives the execution named here. Without the name of a function, other things that stand for it: the id under which a workflow queued what was there already, and the message that enqueue_and_signal has given to it.';

commit;

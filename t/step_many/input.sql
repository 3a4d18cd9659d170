-- step_many: what is asked for has to be complete, and is refused as a whole if it is not.

begin;

\ir ../lib/helpers.psql
\ir ../lib/steps.psql

select plan(33);

select test.stop_clock('2030-01-01 00:00:00+00');
select test.worker('steps') as worker \gset
select test.begin_flow(:'worker', test.id(100), test.task(1, test.id(101)), test.task(2, test.id(102))) as begun \gset
select count(*) from currant.claim(:'worker', '{steps}', 10) \gset
select test.ahead(test.id(100), array[test.id(101), test.id(102)], test.task(3, test.id(103), 3)) as ahead \gset

create function test.error_with(worker uuid, activations jsonb, direct jsonb default '{}') returns text language sql as $$
    select test.error_of(format('select currant.step_many(%L, %L, %L)', worker, activations, direct));
$$;

create temp table wrong (changes jsonb, error text, sentence text);
insert into wrong values
('{"execution": null}', '22023 .* execution is missing', 'each activation names its workflow'),
('{"last_event": null}', '22023 .* last_event is missing', 'and where it was'),
('{"commands": null}', '22023 .* commands is not an array', 'what it wants'),
('{"commands": {}}', '22023 .* commands is not an array', 'as an array'),
('{"options": 7}', '22023 .* options is not an object', 'options as an object'),
('{"at": null}', '22023 .* at is missing', 'the time of the completions'),
('{"at": "yesterday noon"}', '22007', 'as a time'),
('{"token": 7}', '22023 .* both a token and completions', 'it is under a lease or ahead'),
('{"completions": []}', '22023 .* token is missing', 'one of them'),
('{"completions": [{"execution": "00000000-0000-7000-8000-000000000101"}]}', '22023 .* a completion has no token', 'a completion names its lease'),
('{"completions": [{"token": 5}]}', '22023 .* execution and token', 'and its task'),
('{"completions": [{"execution": "00000000-0000-7000-8000-000000000101", "token": 5}, {"execution": "00000000-0000-7000-8000-000000000101", "token": 5}]}', '22023 .* 2 completions, 1 different', 'once'),
('{"completions": 7}', '22023', 'completions are an array'),
('{"arrivals": [1]}', '22023 .* arrivals are for activations under a lease', 'an inbox is for who has a lease'),
('{"options": {"blocked": "no"}}', '22023 .* blocked is for activations under a lease', 'so is being blocked'),
('{"commands": [{"event": 2, "kind": "sing", "number": 3}]}', '22023 .* kind that this schema does not know', 'commands are known'),
('{"commands": [{"event": 2, "kind": "task", "number": 3, "name": "step", "payload": {}}]}', '22023 .* without an id', 'tasks have ids'),
('{"commands": [{"event": 2, "kind": "task", "name": "step", "payload": {"id": "00000000-0000-7000-8000-000000000103"}}]}', '22023 .* without an id or number', 'and numbers'),
('{"commands": [{"event": 1, "kind": "timer", "number": 3, "payload": {"seconds": 1}}]}', '22023 .* does not apply', 'of events that it applies'),
('{"commands": [{"event": 4, "kind": "timer", "number": 3, "payload": {"seconds": 1}}]}', '22023 .* does not apply', 'and none to come'),
('{"commands": [{"event": 3, "kind": "complete"}, {"event": 3, "kind": "fail"}]}', '22023 .* 2 ends', 'there is one end'),
('{"commands": [{"event": 3, "kind": "task", "number": 3, "name": "step", "payload": {"id": "00000000-0000-7000-8000-000000000103", "options": {"prio": 1}}}]}', '22023 .* known options', 'options of tasks are known');
select matches(test.error_with(:'worker', jsonb_build_array(:'ahead'::jsonb || w.changes)), w.error, w.sentence)
from wrong as w;

select matches(
    test.error_with(:'worker', jsonb_build_array(:'ahead'::jsonb, jsonb_set(
        :'ahead'::jsonb, '{completions,0,result}', to_jsonb(repeat('x', 1100000))
    ) || jsonb_build_object('execution', test.id(200)))),
    '22023 .* 4 completions, 2 different', 'nothing completes twice in one call'
);
select matches(
    test.error_with(:'worker', jsonb_build_array(jsonb_set(
        :'ahead'::jsonb, '{completions,0,result}', to_jsonb(repeat('x', 1100000))
    ))), 'KR005 .* result may have', 'a result may be too large'
);
select matches(
    test.error_with(:'worker', jsonb_build_array(jsonb_set(
        :'ahead'::jsonb, '{commands,0,payload,args}', to_jsonb(repeat('x', 1100000))
    ))), 'KR005 .* arguments may have', 'arguments too'
);
select matches(
    test.error_with(:'worker', jsonb_build_array(
        :'ahead'::jsonb || jsonb_build_object('options', jsonb_build_object('waits_for', repeat('x', 1100000)))
    )), 'KR005 .* options may have', 'and options'
);
select matches(test.error_with(:'worker', null), '22004', 'activations are not null');
select matches(test.error_with(:'worker', '{}'), '22004', 'nor anything but an array');
select matches(test.error_with(:'worker', '[7]'), '22023 .* execution is missing', 'of objects');

select is(
    (
        select count(*)
        from unnest(array[
            '{"slots": 1}', '{"queues": ["steps"]}', '{"queues": "steps", "slots": 1}', '{"queues": [], "slots": -1}',
            '{"queues": [], "slots": 1.5}', '{"queues": [], "slots": "1"}', '[]', '7', null
        ]::jsonb[]) as d (value)
        where test.error_with(:'worker', '[]', d.value) like '22023 | direct is %'
    ),
    9::bigint, 'direct is an object with queues and slots, or empty'
);
select matches(test.error_with(test.id(7), '[]'), 'KR002', 'a worker has to be registered');
select matches(
    test.error_of(format('select currant.advance_many(%L, array[%L]::jsonb[])', :'worker', :'ahead')),
    '22023 .* token is missing', 'advance_many takes nothing that is ahead'
);
select is(
    test.said(currant.step_many(:'worker', jsonb_build_array(:'ahead'::jsonb))),
    'accepted; completed accepted accepted; started nothing', 'after all that nothing has happened'
);

select * from finish();
rollback;

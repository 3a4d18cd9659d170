"""Histories as data: grouping stored lines, writing commands, deriving ids."""

import json
from datetime import timedelta
from uuid import UUID

from currant.models import HistoryEntry
from currant.workflow.history import Command, Event, derive_id, started_payload, steps
from tests.workflow.support import RUN_ID, START, new_instance, step


def entry(event: int, position: int, kind: str, **values: object) -> HistoryEntry:
    return HistoryEntry(
        event=event,
        position=position,
        kind=kind,
        number=values.get("number"),  # type: ignore[arg-type]
        name=values.get("name"),  # type: ignore[arg-type]
        payload=values.get("payload"),  # type: ignore[arg-type]
        execution_id=None,
        source=None,
        at=START + timedelta(seconds=event),
    )


async def two_steps() -> str:
    return await step("a") + await step("b")


def test_stored_lines_are_grouped_by_event_and_can_be_replayed() -> None:
    lines = [
        entry(1, 0, "started", payload=started_payload(1)),
        entry(1, 1, "task", number=1, name="a", payload="{}"),
        entry(2, 0, "signal_received", name="unread", payload="null"),
        entry(3, 0, "task_completed", number=1, payload='"x"'),
        entry(3, 1, "task", number=2, name="b", payload="{}"),
    ]
    grouped = list(steps(lines))
    instance = new_instance(two_steps)
    instance.replay(grouped)
    commands = instance.apply(Event(4, "task_completed", START, 2, payload='"y"'))
    instance.close()

    assert [(s.event.number, len(s.commands)) for s in grouped] == [(1, 1), (2, 0), (3, 1)]
    assert grouped[2].event.command == 1
    assert commands == [Command(4, "complete", payload='{"result":"xy"}')]


def test_no_lines_are_no_steps() -> None:
    assert list(steps([])) == []


def test_command_is_written_as_json() -> None:
    command = Command(3, "task", 7, 'na"me', '{"args":[1]}', "app.py:42")

    assert json.loads(command.to_json()) == {
        "event": 3, "kind": "task", "number": 7, "name": 'na"me',
        "payload": {"args": [1]}, "source": "app.py:42",
    }  # fmt: skip
    assert json.loads(Command(3, "complete").to_json())["payload"] is None


def test_derived_id_is_a_uuid7_of_the_time() -> None:
    derived = derive_id(RUN_ID, 5, START)

    # Fixed for ever: a run's next worker has to derive what its last one did.
    assert derived == UUID("01a196fb-1600-7358-83ee-d49ae156a154")
    assert derived.version == 7
    assert derived.int >> 80 == int(START.timestamp() * 1000)


def test_derived_ids_differ_by_run_and_number() -> None:
    ids = {derive_id(UUID(int=run), number, START) for run in range(10) for number in range(10)}

    assert len(ids) == 100

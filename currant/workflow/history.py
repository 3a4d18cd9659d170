"""What a workflow's history consists of, as plain data.

Events say what happened to a run, commands what it asked for in answer. Nothing here runs anything.
"""

import json
import platform
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from hashlib import sha256
from typing import Any, NamedTuple, Protocol
from uuid import UUID

import msgspec

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

# Version of the rules by which the loop orders things. A later version that orders differently
# has to keep following the old rules for runs that started under them.
ENGINE = 1


@dataclass(frozen=True, slots=True)
class RunInfo:
    """What a run knows about itself.

    Attributes:
        version: the one its code declares now.
        queue: its own queue, where tasks go that name none.
        first_event: number of the event it begins with; above 1 if it continues another run.
    """

    id: UUID
    function: str
    version: int = 1
    queue: str = "default"
    root_id: UUID | None = None
    parent_id: UUID | None = None
    created_at: datetime | None = None
    headers: str | None = None
    attempt: int = 1
    first_event: int = 1


class Event(NamedTuple):
    """Something that happened to a run.

    `command` is the number of the command it resolves, `execution` what came to its end by it.
    """

    number: int
    kind: str
    at: datetime
    command: int | None = None
    name: str | None = None
    payload: str | None = None
    execution: UUID | None = None


# Functions and places in the code come back over and over.
_quoted = lru_cache(maxsize=4096)(json.dumps)


class Command(NamedTuple):
    """Something a run asked for while `event` was applied. `payload` is JSON text."""

    event: int
    kind: str
    number: int | None = None
    name: str | None = None
    payload: str | None = None
    source: str | None = None

    def to_json(self) -> str:
        """The command as the database takes it. The payload goes in as it is, not parsed again."""
        number = "null" if self.number is None else self.number
        return (
            f'{{"event":{self.event},"kind":"{self.kind}","number":{number},'
            f'"name":{_quoted(self.name)},"source":{_quoted(self.source)},'
            f'"payload":{self.payload or "null"}}}'
        )


class Recorded(Protocol):
    """What replay reads of a recorded command; `Command` and `models.HistoryEntry` both fit."""

    @property
    def kind(self) -> str: ...
    @property
    def number(self) -> int | None: ...
    @property
    def name(self) -> str | None: ...
    @property
    def payload(self) -> str | None: ...
    @property
    def source(self) -> str | None: ...


class Entry(Recorded, Protocol):
    """A stored line of history: an event at position 0, then the commands it caused."""

    @property
    def event(self) -> int: ...
    @property
    def position(self) -> int: ...
    @property
    def at(self) -> datetime: ...
    @property
    def execution_id(self) -> UUID | None: ...


class Step(NamedTuple):
    """A recorded event with the commands recorded for it."""

    event: Event
    commands: Sequence[Recorded]


def steps(entries: Iterable[Entry]) -> Iterator[Step]:
    """Group stored lines, ordered by event and position, into what `Instance.replay` takes."""
    event: Event | None = None
    commands: list[Recorded] = []
    for entry in entries:
        if entry.position:
            commands.append(entry)
            continue
        if event is not None:
            yield Step(event, commands)
        commands = []
        event = Event(
            entry.event,
            entry.kind,
            entry.at,
            entry.number,
            entry.name,
            entry.payload,
            entry.execution_id,
        )
    if event is not None:
        yield Step(event, commands)


class Carried(NamedTuple):
    """What a run takes over from the one that it continues.

    Attributes:
        last_command: the number of that one's last command.
        signals: those it had not read, oldest first: a JSON array of names and payloads.
    """

    last_command: int
    signals: str = "[]"


def started_payload(version: int, carried: Carried | None = None) -> str:
    """The payload of a run's first event: under which code and rules it began, and with what."""
    payload = json.dumps({"version": version, "python": python_version(), "engine": ENGINE})
    if carried is None:
        return payload
    return f'{payload[:-1]}, "last_command": {carried.last_command}, "signals": {carried.signals}}}'


class Started(msgspec.Struct):
    """What `started_payload` says; `signals` is what `Mailboxes.take_over` takes."""

    python: str | None = None
    engine: int = ENGINE
    last_command: int = 0
    signals: msgspec.Raw = msgspec.Raw(b"[]")


_started = msgspec.json.Decoder(Started)


def read_started(payload: str | None) -> Started:
    """The payload of a run's first event."""
    return _started.decode(payload or "{}")


def seed_of(run: RunInfo) -> int:
    """What a run's random numbers follow from."""
    if run.first_event == 1:
        return run.id.int
    # A continued run has the id of the one before it, and numbers of its own.
    return int.from_bytes(sha256(run.id.bytes + run.first_event.to_bytes(8, "big")).digest())


@lru_cache(maxsize=1)
def python_version() -> str:
    """The minor version, which is what the order of things may depend on."""
    return ".".join(platform.python_version_tuple()[:2])


def derive_id(run: UUID, number: int, at: datetime) -> UUID:
    """The id of what command `number` creates: always the same one, and a UUIDv7 for the index."""
    milliseconds = (at - EPOCH) // timedelta(milliseconds=1)
    digest = sha256(run.bytes + number.to_bytes(8, "big")).digest()
    value = (milliseconds & 0xFFFF_FFFF_FFFF) << 80 | int.from_bytes(digest[:10], "big")
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return UUID(int=value)


def describe(command: Any) -> str:
    """A command in words, e.g. `task #3 charge_card (app.py:42)`. Takes anything `Recorded`."""
    words: list[str] = [command.kind]
    if command.number is not None:
        words.append(f"#{command.number}")
    if command.name is not None:
        words.append(command.name)
    if command.source is not None:
        words.append(f"({command.source})")
    return " ".join(words)

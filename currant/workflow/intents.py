"""What workflow code can ask for, one class per shape of command.

An intent lives in memory and knows who waits for its end; the ledger makes a `Command` of it.
"""

import asyncio
import json
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import lru_cache
from pathlib import PurePath
from typing import Any, ClassVar
from uuid import UUID

from currant.workflow.history import Command, Event, derive_id

Site = tuple[str, int]
Answer = Callable[[Event], object]


def answer_to(future: asyncio.Future[Event]) -> Answer:
    """Hands the event to who awaits the future, if anybody still does."""

    def answer(event: Event) -> None:
        if not future.done():
            future.set_result(event)

    return answer


@lru_cache(maxsize=4096)
def in_short(site: Site | None) -> str | None:
    """A site as people write it: `app.py:42`."""
    return None if site is None else f"{PurePath(site[0]).name}:{site[1]}"


class Intent:
    """Something a workflow asked for.

    Attributes:
        site: file and line of the user's code that asked.
        answer: called with the event that says how it ended; None if nothing comes back.
        number: its command number; None while it has none, and for kinds that never get one.
        opened_at: time of the event under which it was asked, once its drain is over.
        dropped: taken back before anybody heard of it.
    """

    __slots__ = ("answer", "dropped", "kind", "name", "number", "opened_at", "site")

    is_numbered: ClassVar[bool] = True

    def __init__(
        self, kind: str, name: str | None, site: Site | None, answer: Answer | None = None
    ) -> None:
        self.kind = kind
        self.name = name
        self.site = site
        self.answer = answer
        self.number: int | None = None
        self.opened_at: datetime | None = None
        self.dropped = False

    @property
    def source(self) -> str | None:
        """The site in short: `app.py:42`."""
        return in_short(self.site)

    @property
    def awaited(self) -> str:
        """What is waited for, in words."""
        return self.kind if self.name is None else f"{self.kind} {self.name}"

    def command(self, event: Event, run: UUID) -> Command:
        """The command to store, caused by the event."""
        return Command(
            event.number, self.kind, self.number, self.name, self.payload(event, run), self.source
        )

    def payload(self, event: Event, run: UUID) -> str | None:
        """What carrying it out takes, as JSON text."""
        raise NotImplementedError

    def derived_id(self, run: UUID, at: datetime) -> UUID:
        """The id of the execution or signal it makes."""
        assert self.number is not None, "an id is derived from a number"
        return derive_id(run, self.number, at)


class EncodedOptions(dict[str, Any]):
    """Options of an execution, with their JSON; not to be changed."""

    __slots__ = ("text",)

    def __init__(self, options: Mapping[str, Any]) -> None:
        super().__init__(options)
        self.text = json.dumps(options) if options else "{}"


class Execution(Intent):
    """Run a function: a `task` or `child`, whose end comes back, or a `queue`, which goes alone."""

    __slots__ = ("args", "options")

    def __init__(
        self, kind: str, function: str, args: str, options: Mapping[str, Any], site: Site | None
    ) -> None:
        super().__init__(kind, function, site)
        self.args = args
        self.options = options if isinstance(options, EncodedOptions) else EncodedOptions(options)

    def payload(self, event: Event, run: UUID) -> str:
        identity = self.derived_id(run, event.at)
        return f'{{"id":"{identity}","args":{self.args},"options":{self.options.text}}}'


class Attach(Intent):
    """Wait for the end of an execution that is there already; named by its function, if known."""

    __slots__ = ("execution",)

    def __init__(self, execution: UUID, function: str | None, site: Site | None) -> None:
        super().__init__("attach", function, site)
        self.execution = execution

    @property
    def awaited(self) -> str:
        return f"the end of {self.name or 'execution'} {self.execution}"

    def payload(self, event: Event, run: UUID) -> str:
        return f'{{"execution":"{self.execution}"}}'


class Timer(Intent):
    """Wake the workflow after a while, counted from the event under which it was asked.

    The name says what it is the limit of; None if it is none, or none that anybody named.
    """

    __slots__ = ("milliseconds",)

    def __init__(
        self, milliseconds: int, site: Site | None, answer: Answer, name: str | None = None
    ) -> None:
        super().__init__("timer", name, site, answer)
        self.milliseconds = milliseconds

    @property
    def awaited(self) -> str:
        # What it limits is waited for as well, and says so itself.
        return self.kind

    def payload(self, event: Event, run: UUID) -> str:
        return f'{{"seconds":{self.milliseconds / 1000}}}'


Receiver = UUID | tuple[str, str]


class Signal(Intent):
    """Send a signal to another execution: to an id, or to what holds a key of a function."""

    __slots__ = ("receiver", "value")

    def __init__(self, receiver: Receiver, name: str, value: str, site: Site | None) -> None:
        super().__init__("signal", name, site)
        self.receiver = receiver
        self.value = value

    def payload(self, event: Event, run: UUID) -> str:
        if isinstance(self.receiver, UUID):
            receiver = f'"execution":"{self.receiver}"'
        else:
            function, key = map(json.dumps, self.receiver)
            receiver = f'"function":{function},"key":{key}'
        identity = self.derived_id(run, event.at)
        return f'{{"id":"{identity}",{receiver},"payload":{self.value}}}'


class RequestCancel(Intent):
    """Ask for another execution to be cancelled."""

    __slots__ = ("execution", "reason")

    def __init__(self, execution: UUID, reason: str | None, site: Site | None) -> None:
        super().__init__("request_cancel", None, site)
        self.execution = execution
        self.reason = reason

    def payload(self, event: Event, run: UUID) -> str:
        return json.dumps({"execution": str(self.execution), "reason": self.reason})


class SideEffect(Intent):
    """What a function gave that was called once, and is not called again by a replay.

    Attributes:
        outcome: the value or the error, as JSON text; while replaying, what is recorded.
    """

    __slots__ = ("outcome",)

    def __init__(self, function: str, site: Site | None) -> None:
        super().__init__("side_effect", function, site)
        self.outcome = "null"

    def payload(self, event: Event, run: UUID) -> str:
        return self.outcome


class Cancel(Intent):
    """Take back a command of an earlier event. Carries its number and site, has none itself."""

    __slots__ = ()
    is_numbered = False

    def __init__(self, target: Intent) -> None:
        super().__init__("cancel", None, target.site)
        self.number = target.number

    def payload(self, event: Event, run: UUID) -> None:
        return None


class Marker(Intent):
    """Which version of a change this run follows."""

    __slots__ = ("inferred", "version")
    is_numbered = False

    def __init__(self, change: str, version: int, *, inferred: bool, site: Site | None) -> None:
        super().__init__("version", change, site)
        self.version = version
        self.inferred = inferred

    def payload(self, event: Event, run: UUID) -> str:
        return json.dumps({"version": self.version, "inferred": self.inferred})


class End(Intent):
    """The run is over: `complete`, `fail`, `cancelled` or `continue_as_new`.

    Attributes:
        reason: the error in short, for messages; empty if there is none.
    """

    __slots__ = ("outcome", "reason")
    is_numbered = False

    def __init__(self, kind: str, outcome: str, reason: str = "", site: Site | None = None) -> None:
        super().__init__(kind, None, site)
        self.outcome = outcome
        self.reason = reason

    def payload(self, event: Event, run: UUID) -> str:
        return self.outcome

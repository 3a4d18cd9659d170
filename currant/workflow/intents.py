"""What workflow code can ask for, one class per shape of command.

An intent lives in memory and knows who waits for its end; the ledger makes a `Command` of it.
"""

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import PurePath
from typing import Any, ClassVar
from uuid import UUID

from currant.workflow.history import Command, Event, derive_id

Site = tuple[str, int]
Answer = Callable[[Event], object]


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
        return None if self.site is None else f"{PurePath(self.site[0]).name}:{self.site[1]}"

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


class Execution(Intent):
    """Run a function: a `task`, whose end comes back, or a `queue`, whose end does not."""

    __slots__ = ("args", "options")

    def __init__(
        self,
        kind: str,
        function: str,
        args: str,
        options: Mapping[str, Any],
        site: Site | None,
        answer: Answer | None = None,
    ) -> None:
        super().__init__(kind, function, site, answer)
        self.args = args
        self.options = options

    def payload(self, event: Event, run: UUID) -> str:
        options = json.dumps(self.options) if self.options else "{}"
        identity = self.derived_id(run, event.at)
        return f'{{"id":"{identity}","args":{self.args},"options":{options}}}'


class Timer(Intent):
    """Wake the workflow after a while, counted from the event under which it was asked."""

    __slots__ = ("milliseconds",)

    def __init__(self, milliseconds: int, site: Site | None, answer: Answer) -> None:
        super().__init__("timer", None, site, answer)
        self.milliseconds = milliseconds

    def payload(self, event: Event, run: UUID) -> str:
        return f'{{"seconds":{self.milliseconds / 1000}}}'


class Signal(Intent):
    """Send a signal to another execution."""

    __slots__ = ("execution", "value")

    def __init__(self, execution: UUID, name: str, value: str, site: Site | None) -> None:
        super().__init__("signal", name, site)
        self.execution = execution
        self.value = value

    def payload(self, event: Event, run: UUID) -> str:
        identity = self.derived_id(run, event.at)
        return f'{{"id":"{identity}","execution":"{self.execution}","payload":{self.value}}}'


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
    """The run is over: `complete`, `fail` or `cancelled`.

    Attributes:
        reason: the error in short, for messages; empty for `complete`.
    """

    __slots__ = ("outcome", "reason")
    is_numbered = False

    def __init__(self, kind: str, outcome: str, reason: str = "") -> None:
        super().__init__(kind, None, None)
        self.outcome = outcome
        self.reason = reason

    def payload(self, event: Event, run: UUID) -> str:
        return self.outcome

"""One activation of a workflow: from what has arrived to the commit that is to be reported."""

import logging
import time
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

import msgspec

from currant import codec, failures, models
from currant.loglines import Lines
from currant.reports import blocked
from currant.workflow.history import (
    Carried,
    Command,
    Entry,
    Event,
    RunInfo,
    started_payload,
    steps,
)
from currant.workflow.instance import Instance

_LOG = logging.getLogger("currant")


class _Arrival(msgspec.Struct):
    """One element of `Claimed.inbox`."""

    arrival: int
    kind: str
    number: int | None = None
    name: str | None = None
    payload: msgspec.Raw = msgspec.Raw(b"null")
    execution_id: UUID | None = None


_read_inbox = msgspec.json.Decoder(list[_Arrival]).decode


class RunningActivation:
    """An activation under a lease, on its way through the threads.

    Attributes:
        end: the command that ends the run, or has another one continue it.
    """

    __slots__ = (
        "claimed",
        "end",
        "function",
        "history",
        "instance",
        "started",
        "warned",
    )

    def __init__(self, claimed: models.Claimed, function: Any, instance: Instance | None) -> None:
        self.claimed = claimed
        self.function = function
        self.instance = instance
        self.history: Sequence[Entry] = ()
        self.started = 0.0
        self.warned = False
        self.end: Command | None = None

    @property
    def token(self) -> int:
        """Of its lease."""
        return self.claimed.token

    @property
    def name(self) -> str:
        """The workflow, for people."""
        return f"{self.claimed.function} {self.claimed.execution_id}"

    @property
    def replays(self) -> bool:
        """Whether the history has to be read before it can run."""
        claimed = self.claimed
        return self.instance is None and (claimed.last_event or 0) >= first_event(claimed)

    def run(self, encode_limit: int, *, strict: bool = False) -> models.Activation:
        """Apply what has arrived; in a thread. Whatever goes wrong blocks the workflow.

        Args:
            strict: have a replay compare all that the history has, not only what may not change.
        """
        claimed = self.claimed
        try:
            return self._apply(encode_limit, strict)
        except BaseException as error:
            return blocked_activation(claimed, failures.in_words(error))

    def _apply(self, encode_limit: int, strict: bool) -> models.Activation:
        claimed = self.claimed
        instance = self.instance
        if instance is None:
            instance = self.instance = _instance(claimed, self.function, encode_limit, strict)
            if self.history:
                instance.replay(steps(self.history))
        options: dict[str, Any] = {"version": self.function.declaration.version}
        loaded = instance.last_event
        commands: list[Command] = []
        begins_with = first_event(claimed)
        if loaded < begins_with:
            payload = started_payload(self.function.declaration.version, _carried(claimed))
            options["started"] = msgspec.Raw(payload.encode())
            event = Event(begins_with, "started", claimed.claimed_at, payload=payload)
            commands += instance.apply(event)
        arrivals: list[int] = []
        for one in _read_inbox(claimed.inbox or "[]"):
            if instance.finished:
                break
            arrivals.append(one.arrival)
            event = Event(
                instance.last_event + 1,
                one.kind,
                claimed.claimed_at,
                one.number,
                one.name,
                bytes(one.payload).decode(),
                one.execution_id,
            )
            commands += instance.apply(event)
        if instance.blocked is not None:
            return blocked_activation(claimed, instance.blocked)
        if instance.finished:
            self.end = commands[-1]
        return models.Activation(
            claimed.execution_id,
            claimed.token,
            loaded,
            tuple(arrivals),
            _as_json(commands),
            _options(instance, options, self.end),
            tasks=_tasks(commands),
        )


class Completed(msgspec.Struct, frozen=True, gc=False):
    """A task that has completed, and what its workflow is to be told.

    Attributes:
        number: of the command that asked for it.
        at: the time by the database's clock, not later than now.
        payload: the result as it will come back from the database.
    """

    report: models.Completion
    number: int
    at: datetime
    payload: str

    @property
    def execution(self) -> UUID:
        return self.report.execution_id


class Ahead:
    """A step: completions of a workflow's tasks that its instance goes on with before any of it is
    stored. On its way through the threads like an activation.

    Attributes:
        completions: those that it takes in, in this order.
        later: completions that wait for the answer to this step: they came since, or it did not
            take them because the run ended before.
        made: when it was made, on the monotonic clock.
        is_computed: it has been through the threads.
        is_given_up: it took too long, and what it comes to is of no use any more.
        end: as that of an activation.
    """

    __slots__ = (
        "_at",
        "completions",
        "end",
        "instance",
        "is_computed",
        "is_given_up",
        "later",
        "made",
        "started",
        "token",
        "warned",
    )

    def __init__(self, instance: Instance, completions: Sequence[Completed]) -> None:
        self.instance = instance
        self.completions = completions
        # One of its own beside those of the completions' leases.
        self.token = -completions[0].report.token
        # Never before the event before it, as for any.
        self._at = max(instance.loop.now, *[one.at for one in completions])
        self.later: list[Completed] = []
        self.made = time.monotonic()
        self.started = 0.0
        self.warned = False
        self.is_computed = False
        self.is_given_up = False
        self.end: Command | None = None

    @property
    def name(self) -> str:
        """The workflow, for people."""
        return f"{self.instance.run.function} {self.instance.run.id}"

    def run(self) -> models.Step | None:
        """Apply the completions; in a thread.

        Whatever is not plain sailing is left to an activation under a lease, which has ways to say
        what is wrong: then there is no step, and the instance is of no more use.
        """
        try:
            return None if self.is_given_up else self._apply()
        except BaseException:
            return None
        finally:
            self.is_computed = True

    def _apply(self) -> models.Step | None:
        instance = self.instance
        loaded = instance.last_event
        commands: list[Command] = []
        used = 0
        for one in self.completions:
            if instance.finished:
                break
            number = instance.last_event + 1
            event = Event(
                number, "task_completed", self._at, one.number, None, one.payload, one.execution
            )
            commands += instance.apply(event)
            used += 1
        if instance.blocked is not None:
            return None
        if instance.finished:
            self.end = commands[-1]
        return models.Step(
            instance.run.id,
            self.token,
            loaded,
            self._at,
            tuple([one.report for one in self.completions[:used]]),
            _as_json(commands),
            _options(instance, {"version": instance.run.version}, self.end),
            tasks=_tasks(commands),
        )


def _as_json(commands: Sequence[Command]) -> str:
    return f"[{','.join([command.to_json() for command in commands])}]"


def _options(instance: Instance, options: dict[str, Any], end: Command | None) -> str:
    if end is None:
        options["waits_for"] = instance.waiting_for()
    elif end.kind != "continue_as_new" and (unread := instance.mailboxes.unread_events()):
        options["unread"] = unread
    return msgspec.json.encode(options).decode()


def _tasks(commands: Sequence[Command]) -> int:
    return sum([command.kind == "task" for command in commands])


def log_end(
    function: str, execution: UUID, parent: UUID | None, end: Command | None, lines: Lines
) -> None:
    """One line when a run of a workflow ends."""
    if end is None:
        return
    if end.kind == "complete" and not lines.allow(f"completed {function}"):
        return
    name = f"{function} {execution}"
    if parent is not None:
        name += f" (child of {parent})"
    match end.kind:
        case "complete":
            _LOG.info("completed %s", name)
        case "cancelled":
            _LOG.info("cancelled %s", name)
        case "continue_as_new":
            _LOG.info("continued %s as new", name)
        case _:
            error = msgspec.json.decode(end.payload or "{}").get("error", {})
            _LOG.warning("failed %s: %s", name, failures.in_short(error))


def blocked_activation(claimed: models.Claimed, reason: str) -> models.Activation:
    return blocked(claimed.execution_id, claimed.token, claimed.last_event or 0, reason)


def first_event(claimed: models.Claimed) -> int:
    """Where the current run begins in the history of its execution."""
    return claimed.first_event or 1


def _carried(claimed: models.Claimed) -> Carried | None:
    """What the run takes over from the one that it continues; None if it continues none."""
    if first_event(claimed) == 1:
        return None
    return Carried(claimed.last_command or 0, claimed.carried or "[]")


def _instance(claimed: models.Claimed, function: Any, encode_limit: int, strict: bool) -> Instance:
    run = RunInfo(
        id=claimed.execution_id,
        function=claimed.function,
        version=function.declaration.version,
        queue=claimed.queue,
        root_id=claimed.root_id,
        parent_id=claimed.parent_id,
        created_at=claimed.created_at,
        headers=claimed.headers,
        attempt=claimed.attempt,
        first_event=first_event(claimed),
    )

    def encode(value: Any) -> str:
        text: str = function.encode_result(value)
        return codec.checked_size(text, encode_limit, what=f"the result of {claimed.function}()")

    main = partial(function.begin, claimed.args)
    return Instance(run, main, encode, strict=strict, largest=encode_limit)

"""One activation of a workflow: from what has arrived to the commit that is to be reported."""

from collections.abc import Sequence
from functools import partial
from typing import Any
from uuid import UUID

import msgspec

from currant import codec, failures, models
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
    """An activation on its way through the threads.

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
            unread = instance.mailboxes.unread_events()
            if unread and self.end.kind != "continue_as_new":
                options["unread"] = unread
        else:
            options["waits_for"] = instance.waiting_for()
        return models.Activation(
            claimed.execution_id,
            claimed.token,
            loaded,
            tuple(arrivals),
            f"[{','.join(command.to_json() for command in commands)}]",
            msgspec.json.encode(options).decode(),
        )


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

"""One activation of a workflow: from what has arrived to the commit that is to be reported."""

from collections.abc import Sequence
from typing import Any

import msgspec

from currant import codec, errors, models
from currant.reports import blocked
from currant.workflow.history import Command, Event, RunInfo, started_payload, steps
from currant.workflow.instance import Instance


class _Arrival(msgspec.Struct):
    """One element of `Claimed.inbox`."""

    arrival: int
    kind: str
    number: int | None = None
    name: str | None = None
    payload: msgspec.Raw = msgspec.Raw(b"null")


_read_inbox = msgspec.json.Decoder(list[_Arrival]).decode


class RunningActivation:
    """An activation on its way through the threads."""

    __slots__ = (
        "claimed",
        "end",
        "function",
        "history",
        "instance",
        "is_given_up",
        "started",
        "warned",
    )

    def __init__(self, claimed: models.Claimed, function: Any, instance: Instance | None) -> None:
        self.claimed = claimed
        self.function = function
        self.instance = instance
        self.history: Sequence[models.HistoryEntry] = ()
        self.started = 0.0
        self.warned = False
        self.is_given_up = False
        self.end: Command | None = None

    def run(self, encode_limit: int) -> models.Activation:
        """Apply what has arrived; in a thread. Whatever goes wrong blocks the workflow."""
        claimed = self.claimed
        try:
            return self._apply(encode_limit)
        except BaseException as error:
            return blocked_activation(claimed, errors.storable(f"{type(error).__name__}: {error}"))

    def _apply(self, encode_limit: int) -> models.Activation:
        claimed = self.claimed
        instance = self.instance
        if instance is None:
            instance = self.instance = _instance(claimed, self.function, encode_limit)
            instance.replay(steps(self.history))
        options: dict[str, Any] = {"version": self.function.declaration.version}
        loaded = instance.last_event
        commands: list[Command] = []
        if loaded == 0:
            payload = started_payload(self.function.declaration.version)
            options["started"] = msgspec.Raw(payload.encode())
            commands += instance.apply(Event(1, "started", claimed.claimed_at, payload=payload))
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
            )
            commands += instance.apply(event)
        if instance.blocked is not None:
            return blocked_activation(claimed, instance.blocked)
        if instance.finished:
            self.end = commands[-1]
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


def _instance(claimed: models.Claimed, function: Any, encode_limit: int) -> Instance:
    run = RunInfo(
        id=claimed.execution_id,
        function=claimed.function,
        version=function.declaration.version,
        queue=claimed.queue,
        root_id=claimed.root_id,
        parent_id=claimed.parent_id,
        created_at=claimed.created_at,
        headers=claimed.headers,
    )

    def main() -> Any:
        args, kwargs = function.decode_call(claimed.args)
        return function.fn(*args, **kwargs)

    def encode(value: Any) -> str:
        text: str = function.encode_result(value)
        return codec.checked_size(text, encode_limit, what=f"the result of {claimed.function}()")

    return Instance(run, main, encode)

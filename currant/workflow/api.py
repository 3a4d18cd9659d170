"""What workflow code calls, directly or through a decorated function.

Everything here works inside a workflow only; `current` tells whether that is where one is.
"""

import asyncio
import json
import random as random_module
from collections.abc import Callable, Coroutine, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from currant.arguments import LONGEST_SIGNAL_NAME, Seconds, is_name, seconds
from currant.errors import InvalidArgument, NotInWorkflow, TaskFailed
from currant.workflow.history import Event
from currant.workflow.instance import Instance
from currant.workflow.intents import Execution, Signal, Site
from currant.workflow.substitutes import running_loop


def current() -> Instance | None:
    """The run whose code is calling; None outside a workflow."""
    loop = running_loop()
    return None if loop is None else loop.instance


def in_workflow() -> bool:
    """Whether the caller is the code of a workflow."""
    return running_loop() is not None


def run_task(
    function: str,
    args: str,
    options: Mapping[str, Any],
    decode: Callable[[str], Any] = json.loads,
) -> Coroutine[None, None, Any]:
    """Run a task and wait for its result.

    The command is issued when the coroutine first runs, so an unused one asks for nothing.

    Args:
        function: the task's name.
        args: its arguments as JSON text.
        options: what `enqueue` takes, ready for JSON.
        decode: makes the result of its JSON text.

    Returns:
        A coroutine that gives the result.

    Raises:
        NotInWorkflow: at the call.
        TaskFailed: from the coroutine: it failed, timed out, or was cancelled by somebody else.
    """
    instance = _require("run_task")
    coroutine = _run_task(instance, function, args, options, decode, instance.loop.site())
    # The name is what Python's warning shows if it is never awaited.
    coroutine.__qualname__ = f"{function}.run"  # type: ignore[attr-defined]
    return coroutine


async def _run_task(
    instance: Instance,
    function: str,
    args: str,
    options: Mapping[str, Any],
    decode: Callable[[str], Any],
    site: Site | None,
) -> Any:
    intent, future = instance.call(function, args, options, site)
    try:
        event = await future
    except asyncio.CancelledError:
        instance.ledger.cancel(intent)
        raise
    if event.kind == "task_completed":
        return decode(event.payload or "null")
    raise _failure(instance, intent, event)


def _failure(instance: Instance, intent: Execution, event: Event) -> TaskFailed:
    assert intent.opened_at is not None
    execution = intent.derived_id(instance.run.id, intent.opened_at)
    error = json.loads(event.payload or "null")
    return TaskFailed.from_json(error, execution_id=str(execution), function=intent.name)


async def queue_execution(function: str, args: str, options: Mapping[str, Any]) -> UUID:
    """Enqueue an independent execution, together with the commit of what led to it.

    Returns:
        The id it will have.
    """
    instance = _require("queue_execution")
    return instance.send(Execution("queue", function, args, options, instance.loop.site()))


async def send_signal(execution: UUID, name: str, payload: str) -> UUID:
    """Send a signal with a payload of JSON text, together with the commit of what led to it.

    Returns:
        The signal's id, under which it is delivered once.
    """
    instance = _require("send_signal")
    return instance.send(Signal(execution, name, payload, instance.loop.site()))


async def wait_for_signal(
    name: str,
    timeout: Seconds | None = None,
    *,
    decode: Callable[[str], Any] = json.loads,
) -> Any:
    """Wait for a signal and take it; signals that came earlier are taken first, in their order.

    Args:
        name: which signals.
        timeout: seconds or a timedelta to wait at most; None waits for ever.
        decode: makes the value of the payload's JSON text.

    Raises:
        InvalidArgument: the name is none that a signal could have.
        TypeError: the timeout is no duration.
        TimeoutError: none came in that time. It is part of the history; waiting again waits anew.
    """
    instance = _require("wait_for_signal")
    check_signal_name(name)
    limit = None if timeout is None else seconds(timeout, what="timeout of wait_for_signal()")
    return decode(await instance.mailbox(name).receive(limit))


def check_signal_name(name: object) -> None:
    """Raise InvalidArgument if no signal can have this name."""
    if not is_name(name, LONGEST_SIGNAL_NAME):
        raise InvalidArgument(
            f"a signal's name has to be a text of 1 to {LONGEST_SIGNAL_NAME} characters,"
            f" not {name!r:.200}"
        )


def get_version(change_id: str, min_version: int, max_version: int) -> int:
    """Which version of a change in the code this run follows, for as long as it lives.

    A run that has not come this far follows the newest, `max_version`; one that went past this
    place before the change was made, the oldest, `min_version`.

    Raises:
        UnsupportedVersion: it follows one that this code does not have. The run is set aside
            until a worker comes that does.
    """
    if min_version > max_version:
        raise ValueError(
            f"get_version({change_id!r}): min_version {min_version} is above {max_version}"
        )
    return _require("get_version").version(change_id, min_version, max_version)


def now() -> datetime:
    """The workflow's time: when the event that woke it was taken in. Aware, in UTC."""
    return _require("now").loop.now


def random() -> random_module.Random:
    """The workflow's random numbers, the same at every replay."""
    return _require("random").random


def uuid4() -> UUID:
    """A random UUID, the same at every replay."""
    return _require("uuid4").uuid4()


def _require(name: str) -> Instance:
    instance = current()
    if instance is None:
        raise NotInWorkflow(
            f"{name}() works only inside a workflow", hint="call it from a function with @workflow"
        )
    return instance

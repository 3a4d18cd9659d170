"""What workflow code calls, directly or through a decorated function.

Everything here works inside a workflow only; `current` tells whether that is where one is.
"""

import inspect
import json
import random as random_module
from collections.abc import Callable, Coroutine, Mapping
from datetime import datetime
from typing import Any, Final, NoReturn
from uuid import UUID

from currant.arguments import LONGEST_SIGNAL_NAME, Seconds, is_name, seconds
from currant.errors import ContinueAsNew, InvalidArgument, NotInWorkflow
from currant.failures import storable
from currant.workflow import effects, executions
from currant.workflow.instance import Instance
from currant.workflow.intents import Attach, Execution, Receiver, RequestCancel, Signal
from currant.workflow.substitutes import running_loop

_LONGEST_CHANGE_ID: Final = 500


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
        NotInWorkflow, PayloadTooLarge: at the call.
        TaskFailed: from the coroutine: it failed, timed out, or was cancelled by somebody else.
    """
    return _run(_require("run_task"), "task", function, args, options, decode)


def run_child(
    function: str,
    args: str,
    options: Mapping[str, Any],
    decode: Callable[[str], Any] = json.loads,
) -> Coroutine[None, None, Any]:
    """Run a workflow as a child of this one, and wait for its result; otherwise as `run_task`.

    With a key that another execution has, that one's end is waited for, and nothing is begun.

    Raises:
        NotInWorkflow, PayloadTooLarge: at the call.
        ChildFailed: from the coroutine: it failed, timed out, or was cancelled by somebody else.
    """
    return _run(_require("run_child"), "child", function, args, options, decode)


def _run(
    instance: Instance,
    kind: str,
    function: str,
    args: str,
    options: Mapping[str, Any],
    decode: Callable[[str], Any],
) -> Coroutine[None, None, Any]:
    instance.check_size(args, _arguments_of(function))
    intent = Execution(kind, function, args, options, instance.loop.site())
    coroutine = executions.run(instance, intent, decode)
    # The name is what Python's warning shows if it is never awaited.
    coroutine.__qualname__ = f"{function}.run"  # type: ignore[attr-defined]
    return coroutine


def attach(
    execution: UUID, function: str | None = None, decode: Callable[[str], Any] = json.loads
) -> Coroutine[None, None, Any]:
    """Wait for the end of an execution that is there already, and give its result.

    Args:
        function: its function's name if it is known, for people.
        decode: makes the result of its JSON text.

    Raises:
        NotInWorkflow: at the call.
        ExecutionFailed, Cancelled: from the coroutine: it failed or was cancelled.
        ExecutionNotFound: from the coroutine: there is none with this id.
    """
    instance = _require("attach")
    coroutine = executions.attach(
        instance, Attach(execution, function, instance.loop.site()), decode
    )
    coroutine.__qualname__ = f"result of {function or execution}"  # type: ignore[attr-defined]
    return coroutine


async def request_cancel(execution: UUID, reason: str | None = None) -> None:
    """Ask for another execution to be cancelled, together with the commit of what led to it."""
    instance = _require("request_cancel")
    if not isinstance(reason, str | None):
        raise TypeError(f"the reason of a cancellation is a text or None, not {reason!r:.200}")
    kept = None if reason is None else storable(reason)
    instance.send(RequestCancel(execution, kept, instance.loop.site()))


async def queue_execution(function: str, args: str, options: Mapping[str, Any]) -> UUID:
    """Enqueue an independent execution, together with the commit of what led to it.

    Returns:
        The id it will have.

    Raises:
        PayloadTooLarge: the arguments are larger than is stored.
    """
    instance = _require("queue_execution")
    instance.check_size(args, _arguments_of(function))
    intent = Execution("queue", function, args, options, instance.loop.site())
    instance.send(intent)
    return instance.identify(intent)


async def send_signal(receiver: Receiver, name: str, payload: str) -> UUID:
    """Send a signal with a payload of JSON text, together with the commit of what led to it.

    Args:
        receiver: an execution's id, or a function and the key that the execution holds.

    Returns:
        The signal's id, under which it is delivered once.

    Raises:
        InvalidArgument: the name is none that a signal could have.
        PayloadTooLarge: the payload is larger than is stored.
    """
    instance = _require("send_signal")
    check_signal_name(name)
    instance.check_size(payload, f"the payload of signal {name!r}")
    intent = Signal(receiver, name, payload, instance.loop.site())
    instance.send(intent)
    return instance.identify(intent)


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
    return decode(await instance.mailboxes.receive(name, instance.loop, limit))


def check_signal_name(name: object) -> None:
    """Raise InvalidArgument if no signal can have this name."""
    if not is_name(name, LONGEST_SIGNAL_NAME):
        raise InvalidArgument(
            f"a signal's name has to be a text of 1 to {LONGEST_SIGNAL_NAME} characters,"
            f" not {name!r:.200}"
        )


async def wait_condition(predicate: Callable[[], Any], timeout: Seconds | None = None) -> None:
    """Wait until a function of the workflow's own variables gives something true.

    It is looked at now, and from then on whenever all other code of the run waits. Conditions are
    looked at in the order in which their waits began. An exception of the function is raised here.

    Args:
        timeout: seconds or a timedelta to wait at most; None waits for ever.

    Raises:
        TypeError: it is no plain function, or the timeout is no duration.
        TimeoutError: it was not true in that time. It is part of the history.
    """
    instance = _require("wait_condition")
    if not callable(predicate) or inspect.iscoroutinefunction(predicate):
        raise TypeError(f"wait_condition() takes a plain function, not {predicate!r:.200}")
    limit = None if timeout is None else seconds(timeout, what="timeout of wait_condition()")
    loop = instance.loop
    await loop.conditions.wait(loop, predicate, limit, loop.site())


def side_effect(
    function: Callable[[], Any],
    encode: Callable[[Any], str] = json.dumps,
    decode: Callable[[str], Any] = json.loads,
) -> Any:
    """Call a function here and now, once: replays are told what it gave, and do not call it.

    Nothing of the workflow can be used in it.

    Args:
        encode: makes JSON text of what it gives.
        decode: makes of that what this returns, live and replayed alike.

    Raises:
        TypeError: it is no plain function.
        SideEffectFailed: it raised, or what it gave cannot be encoded; the replays raise it too.
    """
    effect = _require("side_effect").side_effect(function, encode)
    return effects.outcome(effect.outcome, effect.name or "side effect", decode)


def continue_as_new(args: str) -> NoReturn:
    """End this run of the workflow, and go on with a new one that has these arguments (JSON).

    Raises:
        ContinueAsNew: always else; it has to leave the workflow's function.
        PayloadTooLarge: the arguments are larger than is stored.
    """
    instance = _require("continue_as_new")
    instance.check_size(args, _arguments_of(instance.run.function))
    raise ContinueAsNew(args)


def get_version(change_id: str, min_version: int, max_version: int) -> int:
    """Which version of a change in the code this run follows, for as long as it lives.

    A run that has not come this far follows the newest, `max_version`; one that went past this
    place before the change was made, the oldest, `min_version`.

    Raises:
        InvalidArgument: the change cannot be called so.
        TypeError, ValueError: the versions are no range of whole numbers.
        UnsupportedVersion: it follows one that this code does not have. The run is set aside
            until a worker comes that does.
    """
    check_range(change_id, min_version, max_version)
    return _require("get_version").version(change_id, min_version, max_version)


def check_range(change_id: object, min_version: object, max_version: object) -> None:
    """Raise what `get_version` raises for wrong arguments."""
    if not is_name(change_id, _LONGEST_CHANGE_ID):
        raise InvalidArgument(
            f"the change_id of get_version() has to be a text of 1 to {_LONGEST_CHANGE_ID}"
            f" characters, not {change_id!r:.200}",
            hint="name the change in a few words, such as 'send_sms'",
        )
    for name, version in (("min_version", min_version), ("max_version", max_version)):
        if isinstance(version, bool) or not isinstance(version, int):
            raise TypeError(
                f"get_version({change_id!r}): {name} has to be a whole number, not {version!r:.200}"
            )
    assert isinstance(min_version, int)
    assert isinstance(max_version, int)
    if min_version > max_version:
        raise ValueError(
            f"get_version({change_id!r}): min_version {min_version} is above {max_version}"
        )


def now() -> datetime:
    """The workflow's time: when the event that woke it was taken in. Aware, in UTC."""
    return _require("now").loop.now


def random() -> random_module.Random:
    """The workflow's random numbers, the same at every replay."""
    return _require("random").random


def uuid4() -> UUID:
    """A random UUID, the same at every replay."""
    return _require("uuid4").uuid4()


def _arguments_of(function: str) -> str:
    return f"the arguments of {function}()"


def _require(name: str) -> Instance:
    instance = current()
    if instance is None:
        raise NotInWorkflow(
            f"{name}() works only inside a workflow", hint="call it from a function with @workflow"
        )
    return instance

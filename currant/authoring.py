"""What the author of a workflow calls besides tasks: signals, versions, time, going on as new.

Also what these mean in a workflow that is called directly, as an ordinary function.
"""

import asyncio
import functools
import inspect
import json
import random as random_module
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NoReturn, TypeVar, overload

from currant import codec, errors, running
from currant.arguments import Seconds, seconds
from currant.signatures import returned_by
from currant.workflow import api, effects

R = TypeVar("R")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class WorkflowInfo:
    """The running workflow.

    Attributes:
        id: the execution's id; stays the same when it continues as new.
        function: the name it was enqueued under.
        version: of the code that runs it now.
        queue: its own.
        attempt: 1, or more after workers were lost while they ran it.
        parent_id: the workflow that runs it as its child, or None.
        root_id: the outermost of its parents, or itself.
        created_at: when it was asked for.
        headers: what it was given as option headers.
        is_continued: whether this run goes on from an earlier one of the same execution.
        is_replaying: whether what the code does now was done before. For logs and metrics;
            what a workflow does must not depend on it, nor on version and attempt.
    """

    id: str
    function: str
    version: int
    queue: str
    attempt: int
    parent_id: str | None
    root_id: str
    created_at: datetime | None
    headers: Any
    is_continued: bool
    is_replaying: bool


@overload
async def wait_for_signal(name: str, timeout: Seconds | None = None, *, type: type[T]) -> T: ...


@overload
async def wait_for_signal(name: str, timeout: Seconds | None = None, *, type: Any = Any) -> Any: ...


async def wait_for_signal(
    name: str,
    timeout: Seconds | None = None,
    *,
    type: Any = Any,  # noqa: A002  (reads best where it is used)
) -> Any:
    """Wait for a signal and take its payload; those that came earlier are taken first.

    Args:
        name: which signals.
        timeout: seconds or a timedelta to wait at most; None waits for ever.
        type: what the payload is decoded as.

    Raises:
        TimeoutError: none came in that time. Waiting again waits anew.
        InvalidArgument: the name is none that a signal could have.
        TypeError: the timeout is no duration.
        DecodingError: the payload does not fit `type`.
        NotInWorkflow: the caller is no workflow.
    """

    def decode(text: str) -> Any:
        return codec.decode(text, type, what=f"the payload of signal {name!r}")

    return await api.wait_for_signal(name, timeout, decode=decode)


async def wait_condition(condition: Callable[[], object], timeout: Seconds | None = None) -> None:
    """Wait until something is true that the workflow's own code brings about.

    Args:
        condition: looked at now, and whenever all other code of the workflow waits. It must do
            nothing but look; what it raises is raised here.
        timeout: seconds or a timedelta to wait at most; None waits for ever.

    Raises:
        TimeoutError: it was not true in that time.
        TypeError: the timeout is no duration, or the condition cannot be called or is async.
        NotInWorkflow: the caller is no workflow.
    """
    if running.inline() is None:
        await api.wait_condition(condition, timeout)
        return
    limit = None if timeout is None else seconds(timeout, what="timeout of wait_condition()")
    async with asyncio.timeout(limit):
        await running.wait_inline(condition)


def side_effect(function: Callable[[], R]) -> R:
    """Call a function once and keep what it returns or raises; replays get what was kept.

    For what is quick, happens in this process and would differ the next time: a setting, a host
    name, a random number. Whatever may fail, take long or change the world belongs into a task.

    Args:
        function: no `async def`, and nothing of a workflow works in it. What it returns is kept
            as JSON, and comes back as its return annotation says.

    Raises:
        SideEffectFailed: it raised something, or what it returned cannot be kept.
        TypeError: it cannot be called or is async.
        NotInWorkflow: the caller is no workflow.
    """
    effects.check(function)
    hint, what = _returned_by(function)

    def encode(value: Any) -> str:
        return codec.encode(value, what=what, hint=hint)

    def decode(text: str) -> Any:
        return codec.decode(text, hint, what=what)

    value: R
    if running.inline() is None:
        value = api.side_effect(function, encode, decode)
    else:
        name = effects.name_of(function)
        value = effects.outcome(effects.perform(function, encode), name, decode)
    return value


def continue_as_new(*args: Any, **kwargs: Any) -> NoReturn:
    """End this run of the workflow, and go on with a new one of the same execution.

    The new run has these arguments and an empty history. Its id and handles stay as they are, and
    signals that nobody has taken reach it; tasks and children that are still open are cancelled,
    unless they are to be abandoned.

    Raises:
        TypeError: the arguments do not fit the workflow's signature.
        EncodingError: one cannot be sent.
        PayloadTooLarge: they are larger than is stored.
        NotInWorkflow: the caller is no workflow.
    """
    function = running.function()
    if function is None:
        raise errors.NotInWorkflow(
            "continue_as_new() works only inside a workflow",
            hint="call it from a function with @workflow",
        )
    encoded = function.encode_call(args, kwargs)
    if running.inline() is None:
        api.continue_as_new(encoded)
    raise errors.ContinueAsNew(encoded)


def info() -> WorkflowInfo:
    """About the workflow that is running.

    Raises:
        NotInWorkflow: none is.
    """
    inline = running.inline()
    if inline is not None:
        return WorkflowInfo(
            id=inline.id,
            function=inline.function.name,
            version=inline.function.declaration.version,
            queue=inline.function.declaration.queue or "default",
            attempt=1,
            parent_id=None,
            root_id=inline.id,
            created_at=inline.created_at,
            headers=None,
            is_continued=False,
            is_replaying=False,
        )
    instance = api.current()
    if instance is None:
        raise errors.NotInWorkflow(
            "info() works only inside a workflow", hint="inside a task there is task_info()"
        )
    run = instance.run
    return WorkflowInfo(
        id=str(run.id),
        function=run.function,
        version=run.version,
        queue=run.queue,
        attempt=run.attempt,
        parent_id=None if run.parent_id is None else str(run.parent_id),
        root_id=str(run.root_id or run.id),
        created_at=run.created_at,
        headers=None if run.headers is None else json.loads(run.headers),
        is_continued=run.first_event > 1,
        is_replaying=instance.is_replaying,
    )


def get_version(change_id: str, min_version: int, max_version: int) -> int:
    """Which version of a change in its code a workflow's run follows, for as long as it lives.

    A run that has not come this far follows `max_version`; one that went past this place before
    the change was made, `min_version`.

    Raises:
        UnsupportedVersion: the run follows one that this code does not have.
        InvalidArgument, TypeError, ValueError: no change can be called so, or there is no version
            from min to max.
        NotInWorkflow: the caller is no workflow.
    """
    if running.inline() is None:
        return api.get_version(change_id, min_version, max_version)
    api.check_range(change_id, min_version, max_version)
    return max_version


def now() -> datetime:
    """The workflow's time, the same at every replay; aware, in UTC."""
    return api.now() if running.inline() is None else datetime.now(UTC)


def random() -> random_module.Random:
    """The workflow's random numbers, the same at every replay."""
    return api.random() if running.inline() is None else random_module.Random()


def uuid4() -> uuid.UUID:
    """A random UUID, the same at every replay."""
    return api.uuid4() if running.inline() is None else uuid.uuid4()


def _returned_by(function: Callable[..., Any]) -> tuple[Any, str]:
    """The annotation of what it returns, and what to call that in errors."""
    while isinstance(function, functools.partial):
        function = function.func
    name = effects.name_of(function)
    if inspect.isfunction(function) or inspect.ismethod(function):
        return returned_by(function, name)
    return Any, f"the result of {name}()"

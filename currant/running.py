"""Which workflow's code is running: a worker's, or one that was called as an ordinary function.

The latter runs here and now, its tasks and children in place. There is no history, so everything
is answered as in a run that has just begun.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Protocol
from uuid import uuid4

from currant import context, errors, failures
from currant.declarations import Declaration
from currant.workflow import api, conditions, ends


class Runnable(Protocol):
    """What is needed of a decorated function."""

    @property
    def name(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def declaration(self) -> Declaration: ...
    @property
    def fn(self) -> Callable[..., Any]: ...
    @property
    def is_async(self) -> bool: ...
    def encode_call(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str: ...
    def decode_call(self, text: str) -> tuple[tuple[Any, ...], dict[str, Any]]: ...
    def encode_result(self, value: Any) -> str: ...
    def decode_result(self, text: str | None) -> Any: ...


@dataclass(frozen=True, slots=True)
class _Inline:
    """A workflow that was called as an ordinary function."""

    function: Runnable
    id: str = field(default_factory=lambda: str(uuid4()))
    created_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    is_in_task: bool = False  # the code of one of its tasks is running


_inline: ContextVar[_Inline | None] = ContextVar("currant_inline", default=None)
_function: ContextVar[Runnable | None] = ContextVar("currant_workflow", default=None)


def inline() -> _Inline | None:
    """The workflow that was called as an ordinary function and now calls; None elsewhere."""
    found = _in_place()
    return None if found is None or found.is_in_task else found


def is_in_place() -> bool:
    """Whether what the caller runs has to run in place: in a workflow's code or its tasks'."""
    return _in_place() is not None


def _in_place() -> _Inline | None:
    found = _inline.get()
    # Threads of its tasks and side effects inherit the variable, but are no part of it.
    if found is None or asyncio._get_running_loop() is None or api.in_workflow():
        return None
    return found


def function() -> Runnable | None:
    """The workflow whose code is calling; None outside workflows."""
    return _function.get()


def begin(function: Runnable, args: str) -> Coroutine[Any, Any, Any]:
    """Begin a run on a worker: called in the run's own context, gives its main coroutine.

    Raises:
        DecodingError: the arguments do not fit.
    """
    _function.set(function)
    positional, named = function.decode_call(args)
    coroutine: Coroutine[Any, Any, Any] = function.fn(*positional, **named)
    return coroutine


async def call_inline(function: Runnable, coroutine: Any) -> Any:
    """Await a workflow's coroutine here and now."""
    with _entered(_Inline(function)):
        return await call_within(function, coroutine)


async def call_within(function: Runnable, coroutine: Any) -> Any:
    """Await a workflow's coroutine as a part of what runs; if it continues as new, those after it.

    What it continues with are its own arguments, and none of the workflow that called it.
    """
    with _calling(function):
        while True:
            try:
                return await coroutine
            except BaseException as error:
                new = ends.continuation(error)
                if new is None:
                    raise
            args, kwargs = function.decode_call(new.arguments)
            coroutine = function.fn(*args, **kwargs)


async def run_inline(function: Runnable, encoded: str) -> Any:
    """Run a task or child of a workflow that runs inline, with values as if they had travelled.

    Raises:
        TaskFailed, ChildFailed: it raised something.
    """
    kind = errors.TaskFailed if function.kind == "task" else errors.ChildFailed
    try:
        args, kwargs = function.decode_call(encoded)
        if function.kind == "workflow":
            value = await call_inline(function, function.fn(*args, **kwargs))
        else:
            value = await _call_task(function, args, kwargs)
        result = function.encode_result(value)
    except BaseException as error:
        if _is_of_caller(error):
            raise
        failed = kind.from_json(
            failures.describe(error), attempts=1, function=function.name, status="failed"
        )
        # The error itself is told by the text that a worker would have sent, and not once more.
        raise failed from failed.cause
    return function.decode_result(result)


async def _call_task(function: Runnable, args: Any, kwargs: Any) -> Any:
    """Call a task where it can ask about itself, and not for what only workflows have."""
    caller = _in_place()
    assert caller is not None
    own = context.TaskContext(id=str(uuid4()), function=function.name, workflow_id=caller.id)
    within = replace(caller, is_in_task=True)
    with _entered(within), _calling(None), context.entered(own):
        if function.is_async:
            return await function.fn(*args, **kwargs)
        return await asyncio.to_thread(function.fn, *args, **kwargs)


def _is_of_caller(error: BaseException) -> bool:
    """Whether it is not what ran that failed, but the caller who is to stop."""
    if isinstance(error, asyncio.CancelledError):
        task = asyncio.current_task()
        return task is not None and task.cancelling() > 0
    return isinstance(error, KeyboardInterrupt | GeneratorExit)


async def wait_inline(condition: Callable[[], Any]) -> None:
    """Wait for what other coroutines on the same event loop bring about.

    Raises:
        TypeError: it cannot be called or is async.
    """
    if not callable(condition):
        raise TypeError(f"wait_condition() takes a plain function, not {condition!r:.200}")
    pause = 0.0
    while not conditions.holds(condition):
        await asyncio.sleep(pause)
        pause = min(pause + 0.001, 0.02)


@contextmanager
def _entered(found: _Inline) -> Iterator[None]:
    token = _inline.set(found)
    try:
        yield
    finally:
        _inline.reset(token)


@contextmanager
def _calling(function: Runnable | None) -> Iterator[None]:
    token = _function.set(function)
    try:
        yield
    finally:
        _function.reset(token)

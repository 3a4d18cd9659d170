"""Looking into code that is suspended, and putting an end to it.

A run that leaves memory must not leave coroutines to the garbage collector: it would run their
`finally` blocks at any time, in any thread. Cancelling them is no way either, since the code would
take it for a real cancellation. So GeneratorExit is raised in them, as by `close()`, in the order
in which they were begun.
"""

import asyncio
import contextvars
import gc
import traceback
from collections.abc import Iterable, Iterator
from pathlib import PurePath
from types import AsyncGeneratorType, CoroutineType, FrameType, GeneratorType
from typing import Any, Final, NamedTuple

from currant.workflow.futures import Task
from currant.workflow.intents import in_short
from currant.workflow.loop import Interrupted, WorkflowLoop, is_internal

# Code may await in its clean-up, and has to be stopped once more for each time it does.
_TRIES = 100

# What cannot be stopped is kept: collecting it would run its code after all.
_unstoppable: Final[list[Any]] = []

# The attributes that hold the frame, and what it awaits.
_ATTRIBUTES = {
    CoroutineType: ("cr_frame", "cr_await"),
    AsyncGeneratorType: ("ag_frame", "ag_await"),
    GeneratorType: ("gi_frame", "gi_yieldfrom"),
}

# What `async for`, `anext()` and `aclose()` await: objects that stand in front of a generator.
_GENERATOR_STEPS = ("async_generator_asend", "async_generator_athrow", "anext_awaitable")


class Suspended(NamedTuple):
    """Code that waits, and the object by which it can be stopped."""

    frame: FrameType
    entrance: Any


def tear_down(loop: WorkflowLoop, context: contextvars.Context) -> list[Any]:
    """Stop every task of the loop in its own context, then its async generators in this one.

    Returns:
        What could not be stopped.
    """
    unstopped: list[Any] = []
    loop.drop_ready()
    while tasks := loop.take_tasks():
        for task in tasks:
            # It ends without a result, which asyncio would report when it is collected.
            task._log_destroy_pending = False  # type: ignore[attr-defined]
            # Its clean-up may use what asks for the current task, such as `asyncio.timeout`.
            asyncio.tasks._enter_task(loop, task)
            try:
                unstopped += _stop(task.get_coro(), task.own_context)
            finally:
                asyncio.tasks._leave_task(loop, task)
    for generator in loop.take_generators():
        closing = generator.aclose()
        _try(context, closing.send, None)
        unstopped += _stop(closing, context)
    loop.drop_ready()
    _unstoppable.extend(unstopped)
    return unstopped


def whereabouts(tasks: Iterable[Task[Any]]) -> str:
    """Where each task is suspended: `Task-1 at app.py:42, …`.

    One that has no code of the user's, such as that of a step in `gather`: what it is, and where
    it was made.
    """
    return ", ".join(f"{task.get_name()} {_place(task)}" for task in tasks)


def is_of_user(task: Task[Any]) -> bool:
    """Whether code of the user's is suspended in it, which may have something to clean up."""
    return _innermost(task) is not None


def stacks(tasks: Iterable[Task[Any]]) -> str:
    """Where each task is suspended, as tracebacks of the user's frames."""
    texts = []
    for task in tasks:
        frames = [frame for frame, _ in _chain(task.get_coro())]
        user = ((f, f.f_lineno) for f in frames if not is_internal(f.f_code.co_filename))
        texts += traceback.StackSummary.extract(iter(user)).format()
    return "".join(texts)


def _place(task: Task[Any]) -> str:
    frame = _innermost(task)
    if frame is not None:
        return f"at {PurePath(frame.f_code.co_filename).name}:{frame.f_lineno}"
    made = in_short(task.site) or "an unknown place"
    return f"({getattr(task.get_coro(), '__qualname__', 'a coroutine')}, begun at {made})"


def _innermost(task: Task[Any]) -> FrameType | None:
    """The innermost frame of the user's."""
    found = None
    for frame, _ in _chain(task.get_coro()):
        if not is_internal(frame.f_code.co_filename):
            found = frame
    return found


def _chain(awaiting: Any) -> Iterator[Suspended]:
    """A coroutine, what it awaits, what that awaits, and so on."""
    while awaiting is not None:
        entrance = awaiting
        while type(awaiting).__name__ in _GENERATOR_STEPS:
            # They do not say what they stand in front of, except to the garbage collector.
            awaiting = next(filter(_is_generator, gc.get_referents(awaiting)), None)
        if type(awaiting) not in _ATTRIBUTES:
            return
        frame_attribute, inner_attribute = _ATTRIBUTES[type(awaiting)]
        frame = getattr(awaiting, frame_attribute)
        if frame is None:
            return
        yield Suspended(frame, entrance)
        awaiting = getattr(awaiting, inner_attribute)


def _is_generator(referent: Any) -> bool:
    return isinstance(referent, AsyncGeneratorType) or type(referent).__name__ in _GENERATOR_STEPS


def _stop(outermost: Any, context: contextvars.Context) -> list[Any]:
    # The innermost first. Left to Python, `close()` of a coroutine gives up what it awaits if that
    # awaits once more in its clean-up (a generator even if it does not), and raises RuntimeError
    # in the coroutine, where the user's code might catch it.
    for _, entrance in reversed(list(_chain(outermost))):
        for _ in range(_TRIES):
            waiting = list(_chain(entrance))
            if not waiting:
                break
            innermost = waiting[-1].entrance
            if type(innermost).__name__ in _GENERATOR_STEPS:
                _try(context, innermost.throw, GeneratorExit())
            else:
                _try(context, innermost.close)
        else:
            return [outermost]
    return []


def _try(context: contextvars.Context, stop: Any, *args: Any) -> None:
    try:
        context.run(stop, *args)
    except (Interrupted, KeyboardInterrupt):
        raise
    except BaseException:
        # It ended so, or its clean-up failed, or it awaits something. Only its frame can tell.
        return

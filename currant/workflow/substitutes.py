"""Stand-ins for what asyncio itself does in the order of memory addresses.

A loop of our own cannot make these places repeatable. They are redirected, for running workflows
only; every other loop gets asyncio's own code.

- `as_completed` makes the tasks for bare coroutines in the order of a set of coroutines.
- `all_tasks` makes its set from one that holds the tasks of every loop in the process.
- The future that `gather` returns is made without asking the loop.
- `wait_for` of Python 3.11 orders things differently from 3.12, so that a run could not move on to
  a worker with the newer Python.
- `timeout` of the first releases of Python 3.11 takes no notice of cancellations from before it.
- What else older versions of Python do otherwise is in `older`.
"""

import asyncio
import functools
import sys
import types
from asyncio import tasks as asyncio_tasks
from asyncio import timeouts
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from currant.workflow import older
from currant.workflow.loop import WorkflowLoop


def running_loop() -> WorkflowLoop | None:
    """The workflow loop that is running this code, if one is."""
    loop = asyncio._get_running_loop()
    return loop if isinstance(loop, WorkflowLoop) else None


class AsCompleted:
    """`asyncio.as_completed`, taking its awaitables in the order in which they were given.

    Like the one of Python 3.13, it can be iterated with `for` and with `async for`.
    """

    def __init__(self, awaitables: Iterable[Awaitable[Any]], timeout: float | None) -> None:
        if asyncio.isfuture(awaitables) or asyncio.iscoroutine(awaitables):
            raise TypeError(f"expect an iterable of awaitables, not {type(awaitables).__name__}")
        loop = asyncio.get_running_loop()
        self._done: asyncio.Queue[asyncio.Future[Any] | None] = asyncio.Queue()
        self._todo = {
            asyncio.ensure_future(awaitable, loop=loop): None
            for awaitable in dict.fromkeys(awaitables)
        }
        self._left = len(self._todo)
        self._timer: asyncio.TimerHandle | None = None
        for future in self._todo:
            future.add_done_callback(self._on_done)
        if self._todo and timeout is not None:
            self._timer = loop.call_later(timeout, self._on_timeout)

    def __aiter__(self) -> "AsCompleted":
        return self

    def __iter__(self) -> "AsCompleted":
        return self

    async def __anext__(self) -> asyncio.Future[Any]:
        if not self._left:
            raise StopAsyncIteration
        self._left -= 1
        return await self._next_future()

    def __next__(self) -> Awaitable[Any]:
        if not self._left:
            raise StopIteration
        self._left -= 1
        return self._next_result()

    async def _next_result(self) -> Any:
        return (await self._next_future()).result()

    async def _next_future(self) -> asyncio.Future[Any]:
        future = await self._done.get()
        if future is None:
            raise TimeoutError
        return future

    def _on_done(self, future: asyncio.Future[Any]) -> None:
        if future not in self._todo:
            return
        del self._todo[future]
        self._done.put_nowait(future)
        if not self._todo and self._timer is not None:
            self._timer.cancel()

    def _on_timeout(self) -> None:
        for future in self._todo:
            future.remove_done_callback(self._on_done)
            self._done.put_nowait(None)
        self._todo.clear()


async def wait_for(awaitable: Awaitable[Any], timeout: float | None) -> Any:
    """`asyncio.wait_for` as Python 3.12 and later have it."""
    if timeout is None or timeout > 0:
        async with asyncio.timeout(timeout):
            return await awaitable
    future = asyncio.ensure_future(awaitable)
    if not future.done():
        future.cancel()
        await asyncio.wait([future])
    try:
        return future.result()
    except asyncio.CancelledError as error:
        raise TimeoutError from error


def _as_completed(fs: Any, *, timeout: float | None = None) -> Any:
    from currant.workflow import substitutes

    if substitutes.running_loop() is not None:
        return substitutes.AsCompleted(fs, timeout)
    return substitutes.original("as_completed")(fs, timeout=timeout)


async def _wait_for(fut: Any, timeout: float | None) -> Any:
    from currant.workflow import substitutes

    if substitutes.running_loop() is not None:
        return await substitutes.wait_for(fut, timeout)
    return await substitutes.original("wait_for")(fut, timeout)


def _gather(*coros_or_futures: Any, return_exceptions: bool = False) -> Any:
    from currant.workflow import older, substitutes

    if substitutes.running_loop() is not None:
        return older.gather(coros_or_futures, return_exceptions)
    return substitutes.original("gather")(*coros_or_futures, return_exceptions=return_exceptions)


def _all_tasks(loop: Any = None) -> Any:
    from currant.workflow import substitutes

    running = substitutes.running_loop()
    if running is not None and loop in (None, running):
        return set(running.tasks)
    return substitutes.original("all_tasks")(loop)


_State: Any = timeouts._State  # type: ignore[attr-defined]


def _mend_timeout() -> None:
    """Have `asyncio.timeout` count cancellations as Python 3.12 does (and 3.11 from 3.11.4 on)."""
    mended: Any = asyncio.Timeout
    original_enter = mended.__aenter__
    original_exit = mended.__aexit__

    async def enter(self: Any) -> Any:
        await original_enter(self)
        if running_loop() is not None:
            self._cancelling = self._task.cancelling()
        return self

    async def exit(self: Any, kind: Any, error: Any, trace: Any) -> bool | None:  # noqa: A001
        if not hasattr(self, "_cancelling"):
            result: bool | None = await original_exit(self, kind, error, trace)
            return result
        if self._timeout_handler is not None:
            self._timeout_handler.cancel()
            self._timeout_handler = None
        if self._state is _State.EXPIRING:
            self._state = _State.EXPIRED
            if self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
                raise TimeoutError from error
        elif self._state is _State.ENTERED:
            self._state = _State.EXITED
        return None

    mended.__aenter__ = enter
    mended.__aexit__ = exit


def _hash_of_gathering(future: Any) -> int:
    loop = future.get_loop()
    if not isinstance(loop, WorkflowLoop):
        return object.__hash__(future)
    if not hasattr(future, "_currant_serial"):
        future._currant_serial = loop.next_serial()
    serial: int = future._currant_serial
    return serial


@functools.cache
def original(name: str) -> Callable[..., Any]:
    """A copy of asyncio's function as it was before it was redirected."""
    function = getattr(asyncio_tasks, name)
    if not hasattr(function, "__code__"):
        return function  # type: ignore[no-any-return]
    copy = types.FunctionType(
        function.__code__, function.__globals__, function.__name__, function.__defaults__
    )
    copy.__kwdefaults__ = function.__kwdefaults__
    return copy


@functools.cache
def install() -> None:
    """Redirect them, once in a process.

    It is the code of the functions that is replaced, not their names in the module: a user's
    `from asyncio import as_completed` has the function already. Only what is written in C, as
    `all_tasks` is from Python 3.14 on, can be replaced by no more than its name.
    """
    _redirect("as_completed", _as_completed)
    if sys.version_info < (3, 12):
        _redirect("wait_for", _wait_for)
        _redirect("gather", _gather)
    older.install(lambda loop: isinstance(loop, WorkflowLoop))
    if "_cancelling" not in asyncio.Timeout.__aenter__.__code__.co_names:
        _mend_timeout()
    _redirect("all_tasks", _all_tasks)
    gathering: Any = asyncio_tasks._GatheringFuture  # type: ignore[attr-defined]
    gathering.__hash__ = _hash_of_gathering


def _redirect(name: str, replacement: Any) -> None:
    original(name)
    function = getattr(asyncio_tasks, name)
    if hasattr(function, "__code__"):
        function.__code__ = replacement.__code__
    else:
        for module in (asyncio_tasks, asyncio):
            setattr(module, name, replacement)

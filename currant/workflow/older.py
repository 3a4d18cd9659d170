"""Where older versions of Python order things otherwise than 3.13, for running workflows.

A run may begin on one version and go on on another, so all have to do the same; that of the newest
is taken, whose corrections are worth having. `install` redirects what differs:

- `gather`, before 3.12, takes notice of what is done already one turn later.
- `TaskGroup`, before 3.13, forgets that its task was cancelled if a part of the group failed in
  the meantime.
- `Condition` and `Semaphore`, before 3.13, lose a wake-up that meets a cancellation.
- `Task.uncancel`, before 3.13, leaves a CancelledError on its way that nobody asks for any more.
"""

import asyncio
import functools
import sys
from asyncio import tasks as asyncio_tasks
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


def install(is_ours: Callable[[object], bool]) -> None:
    """Redirect them; for loops that are ours only."""
    if sys.version_info >= (3, 13):
        return
    _redirect(asyncio.TaskGroup, "__aexit__", _exit_group, is_ours)
    _redirect(asyncio.Condition, "wait", _wait_for_notice, is_ours)
    _redirect(asyncio.Semaphore, "acquire", _acquire, is_ours)


def _redirect(owner: Any, name: str, newer: Any, is_ours: Callable[[object], bool]) -> None:
    older = getattr(owner, name)

    @functools.wraps(older)
    async def redirected(self: Any, *args: Any) -> Any:
        if is_ours(asyncio.get_running_loop()):
            return await newer(self, *args)
        return await older(self, *args)

    setattr(owner, name, redirected)


async def _exit_group(group: Any, kind: Any, error: Any, _: object) -> None:
    """Leave a TaskGroup when its parts have ended."""
    group._exiting = True
    if error is not None and group._base_error is None and group._is_base_error(error):
        group._base_error = error
    is_cancelled = kind is not None and issubclass(kind, asyncio.CancelledError)
    cancellation = error if is_cancelled else None
    if kind is not None and not group._aborting:
        group._abort()
    while group._tasks:
        if group._on_completed_fut is None:
            group._on_completed_fut = group._loop.create_future()
        try:
            await group._on_completed_fut
        except asyncio.CancelledError as cancelled:
            if not group._aborting:
                cancellation = cancelled
                group._abort()
        group._on_completed_fut = None
    if group._base_error is not None:
        raise group._base_error
    parent = group._parent_task
    if group._parent_cancel_requested and parent.uncancel() == 0:
        cancellation = None
    errors = group._errors
    if cancellation is not None and not errors:
        raise cancellation
    if kind is not None and not is_cancelled:
        errors.append(error)
    if errors:
        if parent.cancelling():
            # Somebody else has cancelled it: it is to hear of that at its next wait.
            parent.uncancel()
            parent.cancel()
        group._errors = None
        raise BaseExceptionGroup("unhandled errors in a TaskGroup", errors) from None


async def _wait_for_notice(condition: Any) -> bool:
    """Wait until a Condition is notified."""
    if not condition.locked():
        raise RuntimeError("cannot wait on un-acquired lock")
    notice = condition._get_loop().create_future()
    condition.release()
    try:
        try:
            condition._waiters.append(notice)
            try:
                await notice
            finally:
                condition._waiters.remove(notice)
        finally:
            await _reacquire(condition)
    except BaseException:
        # If a notice had come already, somebody else is to have it.
        _wake_one(condition._waiters, False)
        raise
    return True


async def _reacquire(condition: Any) -> None:
    cancelled: asyncio.CancelledError | None = None
    while True:
        try:
            await condition.acquire()
            break
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled


async def _acquire(semaphore: Any) -> bool:
    """Acquire a Semaphore."""
    if not semaphore.locked():
        semaphore._value -= 1
        return True
    if semaphore._waiters is None:
        semaphore._waiters = deque()
    turn = semaphore._get_loop().create_future()
    semaphore._waiters.append(turn)
    try:
        try:
            await turn
        finally:
            semaphore._waiters.remove(turn)
    except asyncio.CancelledError:
        if turn.done() and not turn.cancelled():
            semaphore._value += 1
        raise
    finally:
        while semaphore._value > 0 and _wake_one(semaphore._waiters, True):
            semaphore._value -= 1
    return True


def _wake_one(waiters: "deque[asyncio.Future[bool]]", result: bool) -> bool:
    for waiter in waiters:
        if not waiter.done():
            waiter.set_result(result)
            return True
    return False


def gather(awaitables: tuple[Any, ...], return_exceptions: bool) -> asyncio.Future[list[Any]]:
    """`asyncio.gather`, which counts at once what is done already."""
    if not awaitables:
        nothing: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        nothing.set_result([])
        return nothing
    futures: dict[Any, asyncio.Future[Any]] = {}
    for awaitable in awaitables:
        if awaitable not in futures:
            futures[awaitable] = future = asyncio.ensure_future(awaitable)
            if future is not awaitable:
                # It is held by nothing but this; whoever gives up the whole knows of it.
                future._log_destroy_pending = False
    children = [futures[awaitable] for awaitable in awaitables]
    gathering: Any = asyncio_tasks._GatheringFuture  # type: ignore[attr-defined]
    left = len(futures)
    outer: Any = None

    def count(future: asyncio.Future[Any]) -> None:
        nonlocal left
        left -= 1
        if outer.done():
            if not future.cancelled():
                future.exception()  # so that nobody calls it unseen
            return
        if not return_exceptions:
            error = _error_of(future)
            if error is not None:
                outer.set_exception(error)
                return
        if left == 0:
            if outer._cancel_requested:
                outer.set_exception(future._make_cancelled_error())  # type: ignore[attr-defined]
            else:
                outer.set_result([_outcome_of(child) for child in children])

    for future in futures.values():
        if not future.done():
            future.add_done_callback(count)
    done = [future for future in futures.values() if future.done()]
    outer = gathering(children, loop=children[0].get_loop())
    for future in done:
        count(future)
    result: asyncio.Future[list[Any]] = outer
    return result


def _error_of(future: asyncio.Future[Any]) -> BaseException | None:
    if future.cancelled():
        cancelled: BaseException = future._make_cancelled_error()  # type: ignore[attr-defined]
        return cancelled
    return future.exception()


def _outcome_of(future: asyncio.Future[Any]) -> Any:
    if future.cancelled():
        # What the message was is known only until somebody has been told.
        message = future._cancel_message  # type: ignore[attr-defined]
        return asyncio.CancelledError("" if message is None else message)
    error = future.exception()
    return future.result() if error is None else error


class RevocableTask(asyncio.Task[T]):
    """A task that, like those of Python 3.13, can take back its own cancellation.

    Cancelled by its own code, a task is told at its next wait. The older ones cannot forget that
    again. So this one keeps it to itself until its code gives way, which is when it matters.
    """

    __slots__ = ("_held", "_is_due", "_message")

    def __init__(self, coroutine: Any, **rest: Any) -> None:
        if not asyncio.iscoroutine(coroutine):
            raise TypeError(f"a coroutine was expected, got {coroutine!r}")
        self._held = 0
        self._is_due = False
        self._message: Any = None
        super().__init__(_Steps(coroutine, self), **rest)

    def get_coro(self) -> Any:
        steps: Any = super().get_coro()
        return None if steps is None else steps.inner

    def cancel(self, msg: Any = None) -> bool:
        if asyncio.current_task(self.get_loop()) is not self or self.done():
            return super().cancel(msg)
        self._held += 1
        self._is_due = True
        self._message = msg
        return True

    def cancelling(self) -> int:
        return super().cancelling() + self._held

    def uncancel(self) -> int:
        if self._held:
            self._held -= 1
        else:
            super().uncancel()
        left = self.cancelling()
        if left == 0:
            self._is_due = False
        return left

    def give_way(self) -> None:
        """Its code waits, or has returned: now the task is cancelled if it is to be."""
        if self._is_due:
            self._is_due = False
            super().cancel(self._message)
            if self._held:
                self._held -= 1
            else:
                super().uncancel()
            while self._held:
                self._held -= 1
                super().cancel(self._message)


class _Steps(Coroutine[Any, Any, Any]):
    """A coroutine that tells its task whenever it gives way."""

    __slots__ = ("_task", "inner")

    def __init__(self, inner: Any, task: RevocableTask[Any]) -> None:
        self.inner = inner
        self._task: RevocableTask[Any] | None = task

    def send(self, value: Any) -> Any:
        return self._step(self.inner.send, value)

    def throw(self, *error: Any) -> Any:
        return self._step(self.inner.throw, *error)

    def _step(self, step: Callable[..., Any], *args: Any) -> Any:
        assert self._task is not None
        try:
            awaited = step(*args)
        except BaseException:
            self._task.give_way()
            self._task = None  # which has this one: no ring is left for the collector
            raise
        self._task.give_way()
        return awaited

    def close(self) -> None:
        self.inner.close()

    def __await__(self) -> Any:
        return self.inner.__await__()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

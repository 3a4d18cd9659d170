"""One claimed task from its arguments to its report, and its line in the log.

Async functions run on the worker's event loop, the others in threads. Whatever the function does,
there is exactly one report, and the worker goes on.
"""

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
    contextmanager,
    suppress,
)
from dataclasses import dataclass, field
from enum import Enum, auto
from functools import partial
from typing import Any, Protocol
from uuid import UUID

import msgspec

from currant import codec, context, database, definitions, errors, failures, models
from currant.context import TaskContext
from currant.deadlines import Deadlines
from currant.models import Report
from currant.reports import worker_needed
from currant.threads import Threads

_LOG = logging.getLogger("currant")
_making_context = threading.Lock()


class Stop(Enum):
    """Why a running task was told to stop."""

    LOST = auto()  # the lease is another's: say nothing
    CANCEL = auto()  # somebody asked for its cancellation
    SHUTDOWN = auto()  # the worker is going: give it back


@dataclass(eq=False, slots=True)
class RunningTask:
    """A task that this worker works on."""

    claimed: models.Claimed
    started: float = field(default_factory=time.monotonic)
    runner: "asyncio.Task[None] | None" = None
    stop: Stop | None = None
    context: TaskContext | None = None
    has_begun: bool = False
    is_expired: bool = False  # its time was over, and it was cancelled for that
    is_committing: bool = False  # its own transaction ends the lease
    is_interruptible: bool = True
    waits: int = 0  # for how many executions it waits at this moment
    details: str | None = None  # to go with the next heartbeat

    @property
    def deadline(self) -> float:
        """When, on the monotonic clock, the attempt times out."""
        timeout = self.claimed.timeout
        return self.started + (timeout.total_seconds() if timeout else float("inf"))

    def tell(self, reason: Stop) -> None:
        """Have it stop. A sync function is not interrupted; it can look at `task_info()`."""
        if self.stop in (Stop.LOST, reason):
            return
        self.stop = reason
        if self.context is not None:
            self.context.cancelled = True
        can_stop = self.is_interruptible or reason is not Stop.CANCEL
        if self.runner is not None and self.has_begun and can_stop:
            self.runner.cancel()

    def expire(self) -> None:
        """Stop it: its time is over."""
        self.is_expired = True
        if self.runner is not None:
            self.runner.cancel()


class Host(Protocol):
    """What the executor needs of its worker."""

    max_payload_bytes: int

    @property
    def worker_id(self) -> UUID: ...

    def ended(self, running: RunningTask, report: Report | None) -> None:
        """The task is over; None: nothing is to be reported."""

    def beat_soon(self) -> None:
        """A task has details to keep. Callable from any thread."""

    def transaction(self) -> AbstractAsyncContextManager[Any]:
        """An async connection inside a transaction that is committed at the end."""

    def transaction_sync(self) -> AbstractContextManager[Any]:
        """The same for a thread, with a connection to use there."""

    def lend_slot(self, slots: int) -> None:
        """One slot more (1), or one less again (-1), than the settings say. On the event loop."""

    def post(self, function: Callable[[], None]) -> None:
        """Call the function on the event loop. Callable from any thread."""


class Executor:
    """Runs claimed tasks."""

    def __init__(self, host: Host, functions: definitions.Registry = definitions.registry) -> None:
        self._host = host
        self._functions = functions
        self._threads = Threads("currant-task")
        self._deadlines = Deadlines()
        self.hung = 0  # threads that were given up and have not come back

    def start_all(self, tasks: Sequence[RunningTask]) -> None:
        """Begin these."""
        for running in tasks:
            self.start(running)

    def start(self, running: RunningTask) -> None:
        """Begin the task; `Host.ended` is called once when it is over."""
        claimed = running.claimed
        running.runner = asyncio.get_running_loop().create_task(
            self._run(running), name=claimed.function
        )

    async def _run(self, running: RunningTask) -> None:
        # One that is cancelled before its first step would never get here: see `tell`.
        running.has_begun = True
        claimed = running.claimed
        function = self._functions.get(claimed.function)
        report: Report | None
        if running.stop is Stop.LOST:
            report = None
        elif running.stop is not None:
            report = models.Release(claimed.execution_id, claimed.token)
        elif needed := worker_needed(claimed, function):
            report = _release(claimed, needed)
        else:
            try:
                report = await self._attempt(running, function)
            except BaseException as error:
                # Whatever it is, this would otherwise count as running for as long as the worker.
                report = _untold(claimed, error)
        # Both lead back here: without them nothing is left for the garbage collector to find.
        running.runner = running.context = None
        self._host.ended(running, report)

    async def _attempt(self, running: RunningTask, function: Any) -> Report | None:
        claimed = running.claimed
        try:
            args, kwargs = function.decode_call(claimed.args)
            running.is_interruptible = function.is_async
            context.enter(partial(self._context, running))
            self._deadlines.add(running)
            if function.declaration.transactional:
                await self._in_transaction(running, function, args, kwargs)
                return None
            return self._completion(claimed, function, await self._call(function, args, kwargs))
        except asyncio.CancelledError as error:
            match running.stop:
                case Stop.LOST:
                    return None
                case Stop.SHUTDOWN:
                    return models.Release(claimed.execution_id, claimed.token)
                case Stop.CANCEL if running.is_interruptible:
                    return _failure(claimed, error)
                case _ if running.is_expired:
                    return _timed_out(claimed, function.is_async)
                case _:
                    return _failure(claimed, error)
        except TimeoutError as error:
            if running.is_expired:
                return _timed_out(claimed, function.is_async)
            return _failure(claimed, error, retryable=function.is_retryable(error))
        except errors.Retry as error:
            return _failure(claimed, error, retry_after=error.delay)
        except errors.PayloadError as error:
            # Trying again would give the same value, or meet the same arguments.
            return _failure(claimed, error, retryable=False)
        except BaseException as error:
            return _failure(claimed, error, retryable=function.is_retryable(error))
        finally:
            self._deadlines.discard(running)

    def _context(self, running: RunningTask) -> TaskContext:
        """The task's context, made when somebody asks for it, in whatever thread of the task."""
        with _making_context:
            if running.context is None:
                running.context = self._new_context(running)
            return running.context

    def _new_context(self, running: RunningTask) -> TaskContext:
        claimed = running.claimed

        def record_heartbeat(details: str | None) -> None:
            running.details = details
            if details is not None:
                self._host.beat_soon()

        return TaskContext(
            id=str(claimed.execution_id),
            function=claimed.function,
            attempt=claimed.attempt,
            max_attempts=claimed.max_attempts,
            deadline=claimed.claimed_at + claimed.timeout if claimed.timeout else None,
            workflow_id=str(claimed.parent_id) if claimed.parent_id else None,
            details=claimed.details,
            cancelled=running.stop is not None,
            record_heartbeat=record_heartbeat,
            lend_slot=partial(self._lent, running),
            lend_slot_sync=partial(self._lent_sync, running),
        )

    @asynccontextmanager
    async def _lent(self, running: RunningTask) -> AsyncIterator[None]:
        """A task that waits for others does not keep them from running."""
        self._wait(running, 1)
        try:
            yield
        finally:
            self._wait(running, -1)

    @contextmanager
    def _lent_sync(self, running: RunningTask) -> Iterator[None]:
        """The same from a thread of the task."""
        self._host.post(partial(self._wait, running, 1))
        try:
            yield
        finally:
            self._host.post(partial(self._wait, running, -1))

    def _wait(self, running: RunningTask, waits: int) -> None:
        """A task has one slot to lend, for however many others it waits at once."""
        before, running.waits = running.waits, running.waits + waits
        if (before == 0) != (running.waits == 0):
            self._host.lend_slot(waits)

    async def _call(self, function: Any, args: Any, kwargs: Any) -> Any:
        if function.is_async:
            return await function.fn(*args, **kwargs)
        async with self._thread_watched() as run:
            return await run(partial(function.fn, *args, **kwargs))

    @asynccontextmanager
    async def _thread_watched(self) -> AsyncIterator[Callable[[Callable[[], Any]], Any]]:
        """A way to run a call in a thread that counts as hung from when it is given up."""
        loop = asyncio.get_running_loop()
        given_up = False
        is_over = False

        def over() -> None:
            nonlocal is_over
            is_over = True
            if given_up:
                self.hung -= 1

        def run(call: Callable[[], Any]) -> asyncio.Future[Any]:
            def watched() -> Any:
                try:
                    return call()
                finally:
                    # A closed loop refuses: nobody counts any more.
                    with suppress(RuntimeError):
                        loop.call_soon_threadsafe(over)

            return self._threads.run(watched)

        try:
            yield run
        except (asyncio.CancelledError, TimeoutError):
            if not is_over:
                given_up = True
                self.hung += 1
            raise

    async def _in_transaction(
        self, running: RunningTask, function: Any, args: Any, kwargs: Any
    ) -> None:
        """What the function writes through `connection()` and its completion are one commit."""
        claimed = running.claimed
        task = self._context(running)

        def completing(value: Any) -> database.Call[str]:
            result = self._completion(claimed, function, value).result
            running.is_committing = True
            return database.complete(
                self._host.worker_id, claimed.execution_id, claimed.token, result
            )

        def in_thread() -> None:
            with self._host.transaction_sync() as task.connection:
                call = completing(function.fn(*args, **kwargs))
                _require_accepted(database.run_sync(task.connection, call))

        try:
            if function.is_async:
                async with self._host.transaction() as task.connection:
                    call = completing(await function.fn(*args, **kwargs))
                    _require_accepted(await database.run(task.connection, call))
            else:
                async with self._thread_watched() as run:
                    await run(in_thread)
        except _NotAccepted:
            # Rolled back, what it wrote included: the lease is another's.
            running.stop = Stop.LOST

    def _completion(self, claimed: models.Claimed, function: Any, value: Any) -> models.Completion:
        text = codec.checked_size(
            function.encode_result(value),
            self._host.max_payload_bytes,
            what=f"the result of {claimed.function}()",
        )
        return models.Completion(claimed.execution_id, claimed.token, text)


class _NotAccepted(Exception):
    """The completion of a transactional task was refused."""


def _require_accepted(word: str) -> None:
    if word == models.Word.BUSY:
        raise errors.Retry("the lease was locked when the task was done", delay=0)
    if word != models.Word.ACCEPTED:
        raise _NotAccepted


def _release(claimed: models.Claimed, reason: str) -> models.Release:
    return models.Release(claimed.execution_id, claimed.token, reason)


def _failure(
    claimed: models.Claimed,
    error: BaseException,
    *,
    retryable: bool = True,
    retry_after: Any = None,
) -> models.Failure:
    described = failures.describe(error, retryable=retryable)
    return models.Failure(
        claimed.execution_id, claimed.token, msgspec.json.encode(described).decode(), retry_after
    )


def _untold(claimed: models.Claimed, error: BaseException) -> models.Failure:
    """The failure of a task whose end could not be written down as it should be."""
    message = f"how it ended cannot be told: {type(error).__name__}"
    _LOG.error("%s %s: %s", claimed.function, claimed.execution_id, message, exc_info=error)
    told = {"type": "Exception", "message": failures.storable(message)}
    return models.Failure(claimed.execution_id, claimed.token, msgspec.json.encode(told).decode())


def _timed_out(claimed: models.Claimed, is_async: bool) -> models.Failure:
    seconds = claimed.timeout.total_seconds() if claimed.timeout else 0
    message = f"no end after {seconds:g} s"
    if not is_async:
        message += "; its thread could not be stopped and is left to itself"
    error = {"type": "Timeout", "message": message}
    return models.Failure(claimed.execution_id, claimed.token, msgspec.json.encode(error).decode())


def log_task(running: RunningTask, report: Report, word: models.Word) -> None:
    """The one line that an execution has in the log."""
    if word is models.Word.LOST:
        level, verb = logging.WARNING, "lost"
    else:
        match report:
            case models.Completion():
                level, verb = logging.INFO, "completed"
            case models.Failure() if running.stop is Stop.CANCEL:
                level, verb = logging.INFO, "cancelled"
            case models.Failure():
                level, verb = logging.WARNING, "failed"
            case _:
                level, verb = logging.INFO, "gave back"
    if not _LOG.isEnabledFor(level):
        return
    claimed = running.claimed
    text = f"{verb} {claimed.function} {claimed.execution_id}"
    if claimed.max_attempts > 1 and (claimed.attempt > 1 or isinstance(report, models.Failure)):
        text += f", attempt {claimed.attempt} of {claimed.max_attempts}"
    text += f", {time.monotonic() - running.started:.3f} s"
    if isinstance(report, models.Failure) and running.stop is not Stop.CANCEL:
        error = msgspec.json.decode(report.error)
        is_final = error.get("retryable") is False or claimed.attempt >= claimed.max_attempts
        text += f"{', for good' if is_final else ''}: {failures.in_short(error)}"
    elif isinstance(report, models.Release) and report.reason:
        text += f": waits for {report.reason}"
    _LOG.log(level, "%s", text)

"""What a test uses: a worker on a database of the test's own, and the database's clock."""

import asyncio
import contextvars
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import datetime, timedelta
from threading import Event, RLock
from types import TracebackType
from typing import Any, Final, ParamSpec, Self, TypeVar
from uuid import UUID

import psycopg

from currant import client, database, migrations, models
from currant.arguments import Seconds, seconds
from currant.definitions import Function, registry
from currant.handles import Handle
from currant.settings import Settings
from currant.testing.background import Background
from currant.testing.checking import Checker
from currant.testing.databases import settings_for, using
from currant.testing.driver import Driver
from currant.testing.errors import KitError, hidden
from currant.testing.replacements import Call, Functions, Replacement

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

__tracebackhide__ = hidden

# Heartbeats are real, and the clock is not.
_NEVER: Final = timedelta(days=3650).total_seconds()
_LONG: Final = timedelta(days=3660)


class Environment:
    """Runs tasks and workflows in a test: with the real engine, and with time as the test wants it.

    A worker runs in a thread of this process. It works whenever there is work, but the database's
    clock stands still: it moves only in `run`, `result` and `skip`. While the environment is open,
    its database is the one that this process uses by default.

    Every method that waits has a second form for code without an event loop, named `..._sync`.

    Args:
        url: of a database with Currant's schema that is not used for anything but tests.
        start: the time at which the clock stands at first; None is now.
        replay: whether workflows are replayed from their history at every step (long ones at
            growing distances), and in the end once more, with all their values compared. Without
            it they stay in memory, which is faster.
        patience: real seconds after which something that runs without getting on is an error.

    Raises:
        UnfitDatabase: it is not a database for tests, or the role may not change it.
        CurrantError: it cannot be reached, or its schema is not the one of this package.
    """

    def __init__(
        self,
        url: str,
        *,
        start: datetime | None = None,
        replay: bool = True,
        patience: Seconds = 30.0,
    ) -> None:
        if start is not None and not isinstance(start, datetime):
            raise TypeError(f"start is a datetime, not {start!r}")
        if start is not None and start.utcoffset() is None:
            raise TypeError("start needs a time zone, such as datetime(2030, 1, 1, tzinfo=UTC)")
        self.url = url
        self._start = start
        self._is_replaying = replay
        self._patience = seconds(patience, what="patience")
        self._lock = RLock()
        self._stack: ExitStack | None = None

    # --- opening and closing

    def __enter__(self) -> Self:
        if self._stack is not None:
            raise KitError("this environment is open already")
        with ExitStack() as stack:
            stack.enter_context(using(self.url))
            settings = settings_for(
                self.url,
                worker_workflow_cache=1000,
                worker_strict_replay=self._is_replaying,
                worker_heartbeat_timeout=_NEVER,
                worker_shutdown_grace=0.0,
            )
            connection = _connect(self.url, settings)
            stack.callback(connection.close)
            queues = {one.declaration.queue or "default" for one in registry} | {"default"}
            self._worker = Background(settings, sorted(queues))
            self._functions = Functions(self._worker.stir)
            self._driver = Driver(connection, self._worker, self._functions, self._patience)
            self._driver.stop_clock(self._start)
            stack.callback(self._driver.release_clock)
            self._checker = Checker(connection, self._functions)
            stack.callback(self._worker.stop)
            self._worker.start(self._functions, self.now, self._patience)
            self._threads = ThreadPoolExecutor(1, "currant-testing-driver")
            stack.callback(self._threads.shutdown)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        stack, self._stack = self._opened, None
        with self._lock, stack:
            if error is None:
                self._driver.refuse_diverged()
                if self._is_replaying:
                    self._checker.check_all(known=self._driver.told)

    async def __aenter__(self) -> Self:
        return await asyncio.to_thread(self.__enter__)

    async def __aexit__(self, *exc: Any) -> None:
        await asyncio.to_thread(self.__exit__, *exc)

    # --- driving

    async def run(self, function: Function[P, Any, R] | str, /, *args: Any, **kwargs: Any) -> R:
        """Queue a task or workflow and give its `result`.

        Args:
            function: it, with options if there are any (`f.options(…)`), or its name.
        """
        result: R = await self._in_thread(self._run, function, args, kwargs)
        return result

    def run_sync(self, function: Function[P, Any, R] | str, /, *args: Any, **kwargs: Any) -> R:
        """`run` for code without an event loop."""
        result: R = self._here(self._run, function, args, kwargs)
        return result

    async def result(self, execution: Handle[R] | UUID | str, *, within: Seconds = _LONG) -> R:
        """Let everything run, and time pass, until the execution has ended; its result.

        Args:
            within: how much time may pass on the clock.

        Raises:
            ExecutionFailed: it failed; the error says with what, and carries the traceback.
            Cancelled: it was cancelled.
            Stuck: it waits for something that does not come: a signal, or later than `within`.
            NonDeterminism: a replay took another path than its history.
            Stalled: something runs and does not get on.
        """
        result: R = await self._in_thread(self._result, execution, within)
        return result

    def result_sync(self, execution: Handle[R] | UUID | str, *, within: Seconds = _LONG) -> R:
        """`result` for code without an event loop."""
        result: R = self._here(self._result, execution, within)
        return result

    async def drain(self) -> None:
        """Let everything run that can without time passing.

        Raises:
            Stalled: something runs and does not get on.
        """
        await self._in_thread(self._drain)

    def drain_sync(self) -> None:
        """`drain` for code without an event loop."""
        self._here(self._drain)

    async def skip(self, duration: Seconds) -> None:
        """Let so much time pass, with everything that comes due in it, in order.

        Args:
            duration: seconds or a timedelta.
        """
        await self._in_thread(self._skip, duration)

    def skip_sync(self, duration: Seconds) -> None:
        """`skip` for code without an event loop."""
        self._here(self._skip, duration)

    def now(self) -> datetime:
        """Where the clock stands, in UTC."""
        return self._driver.now

    # --- tasks of the test's own

    def replace(
        self, function: Function[..., Any, Any] | str, fn: Callable[..., Any]
    ) -> Replacement:
        """Run `fn` in the place of a task or workflow, wherever it is run.

        From now on, until the test ends; or used with `with`, until the end of the block.

        Args:
            function: what is replaced, or its name.
            fn: takes the same arguments, sync or async. What it returns is the result; if it
                raises, the attempt has failed. `hang` is one that never ends.

        Raises:
            TypeError: it does not take the same arguments.
            KitError: nothing of that name is known.
        """
        self._opened  # noqa: B018
        return self._functions.replace(self._functions.find(function), fn)

    def calls(self, function: Function[..., Any, Any] | str) -> list[Call]:
        """What a task or workflow, replaced or not, was called with so far: each attempt."""
        self._opened  # noqa: B018
        return self._functions.calls(self._functions.find(function))

    # --- looking back

    async def history(self, execution: Handle[Any] | UUID | str) -> list[models.HistoryEntry]:
        """What has happened to a workflow and what it asked for, line by line.

        Raises:
            ExecutionNotFound: there is no such execution.
        """
        return await self._in_thread(self._history, execution)

    def history_sync(self, execution: Handle[Any] | UUID | str) -> list[models.HistoryEntry]:
        """`history` for code without an event loop."""
        return self._here(self._history, execution)

    async def replay(self, execution: Handle[Any] | UUID | str) -> None:
        """Replay a workflow with the code as it is now, and compare everything it asks for.

        Raises:
            NonDeterminism: it asks for something else, or with other arguments.
            ExecutionNotFound: there is no such execution.
        """
        await self._in_thread(self._replay, execution)

    def replay_sync(self, execution: Handle[Any] | UUID | str) -> None:
        """`replay` for code without an event loop."""
        self._here(self._replay, execution)

    # --- the above, in the thread that drives

    def _run(
        self, function: Function[..., Any, Any] | str, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        return self._result(self._functions.find(function).queue_sync(*args, **kwargs), _LONG)

    def _result(self, execution: Handle[Any] | UUID | str, within: Seconds) -> Any:
        handle = execution if isinstance(execution, Handle) else Handle(execution)
        latest = self._driver.now + timedelta(seconds=seconds(within, what="within"))
        self._driver.until_ended(handle.id, latest)
        self._check_ended()
        return Handle(handle.id, decode=handle._decode).result_sync()

    def _drain(self) -> None:
        self._driver.drain()
        self._check_ended()

    def _skip(self, duration: Seconds) -> None:
        size = seconds(duration, what="duration")
        if size < 0:
            raise ValueError("time does not go back: duration is below 0")
        self._driver.skip(self._driver.now + timedelta(seconds=size))
        self._check_ended()

    def _check_ended(self) -> None:
        # At once, since the test may go on to other code, which ended ones need not follow.
        if self._is_replaying:
            self._checker.check_all(only_ended=True)

    def _history(self, execution: Handle[Any] | UUID | str) -> list[models.HistoryEntry]:
        return self._driver.history(Handle(execution).id)

    def _replay(self, execution: Handle[Any] | UUID | str) -> None:
        self._checker.check(Handle(execution).id)

    # --- threads

    @property
    def _opened(self) -> ExitStack:
        if self._stack is None:
            raise KitError("this environment is not open", hint="with Environment(url) as env: …")
        return self._stack

    def _here(self, work: Callable[..., T], /, *args: Any) -> T:
        """In this thread."""
        name = work.__name__.removeprefix("_")
        client.refuse_in_loop(f"{name}_sync()", f"await {name}()")
        return self._drive(Event(), work, *args)

    async def _in_thread(self, work: Callable[..., T], /, *args: Any) -> T:
        """In a thread, while the caller's event loop goes on."""
        self._opened  # noqa: B018
        context, abandoned = contextvars.copy_context(), Event()
        driven = self._threads.submit(context.run, self._drive, abandoned, work, *args)
        try:
            return await asyncio.wrap_future(driven)
        finally:
            # Nobody may be waiting any more. Who drives next waits until that has been noticed.
            abandoned.set()

    def _drive(self, abandoned: Event, work: Callable[..., T], /, *args: Any) -> T:
        with self._lock:
            self._opened  # noqa: B018
            self._driver.abandoned = abandoned
            return work(*args)


def _connect(url: str, settings: Settings) -> psycopg.Connection[Any]:
    try:
        connection = database.connect_sync(
            url, settings=settings, application_name="currant testing"
        )
    except psycopg.Error as error:
        raise database.translate(error) from error
    try:
        migrations.check_schema(database.run_sync(connection, database.version()))
    except BaseException as error:
        connection.close()
        if isinstance(error, psycopg.Error):
            raise database.translate(error) from error
        raise
    return connection

"""Connections of a client: opened when needed, a few kept, none used by two at once.

Also how a call runs on a connection that is not ours: the caller's own transaction.
"""

import asyncio
import os
import random
import re
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar

import psycopg

from currant import database, embedded, errors, migrations
from currant.settings import Settings, variable
from currant.waiting import EndListener

T = TypeVar("T")

_MAX_CONNECTIONS = 4
_MAX_SYNC_CONNECTIONS = 10
_FIRST_PATIENCE = 5.0


class Source:
    """Opens connections to the database of the settings, checking the schema on the first.

    Raises:
        SettingsError: a URL cannot be read.
    """

    def __init__(self, settings: Settings, application_name: str) -> None:
        for name in ("database_url", "database_listen_url"):
            url = getattr(settings, name)
            if url is not None and url != "off":
                database.check_url(url, what=f"the database URL ({variable(name)})")
        self.settings = settings
        self.application_name = application_name
        self.has_connected = False
        self._url: str | None = None

    @property
    def _listen_url(self) -> str | None:
        configured = self.settings.database_listen_url
        if configured is not None:
            return None if configured == "off" else configured
        # Through a transaction pooler nothing would ever arrive.
        return self._url if self.settings.database_prepare else None

    async def open(self) -> psycopg.AsyncConnection[Any]:
        """A connection whose schema has been checked.

        Raises:
            psycopg.Error: not now; trying again may help.
            CurrantError: trying again does not help.
        """
        url = await self._address()
        try:
            connection = await self._connect(url)
        except psycopg.OperationalError:
            if self.has_connected or not await asyncio.to_thread(database.server_answers, url):
                raise
            # A server is there and does not want us: no use in waiting, except that it may have
            # come up between the two questions.
            try:
                connection = await self._connect(url)
            except psycopg.OperationalError as error:
                raise database.translate(error) from error
        if not self.has_connected:
            try:
                migrations.check_schema(await database.run(connection, database.version()))
            except BaseException:
                await connection.close()
                raise
            self.has_connected = True
        return connection

    async def open_listening(self) -> psycopg.AsyncConnection[Any] | None:
        """A connection for LISTEN, or None where that does not work."""
        await self._address()
        url = self._listen_url
        return None if url is None else await self._connect(url)

    async def _address(self) -> str:
        if self._url is None:
            # The embedded server may have to be set up first, which takes a while.
            self._url = await asyncio.to_thread(embedded.database_url, self.settings)
        return self._url

    async def _connect(self, url: str) -> psycopg.AsyncConnection[Any]:
        return await database.connect(
            url, settings=self.settings, application_name=self.application_name
        )

    @property
    def is_told(self) -> bool:
        """Whether notifications reach the connections that `open` gives."""
        return self._url is not None and self._listen_url == self._url

    def open_sync(self) -> psycopg.Connection[Any]:
        """`open` for code without an event loop."""
        url = self._url
        if url is None:
            url = self._url = embedded.database_url(self.settings)
        try:
            connection = self._connect_sync(url)
        except psycopg.OperationalError:
            if self.has_connected or not database.server_answers(url):
                raise
            try:
                connection = self._connect_sync(url)
            except psycopg.OperationalError as error:
                raise database.translate(error) from error
        if not self.has_connected:
            try:
                migrations.check_schema(database.run_sync(connection, database.version()))
            except BaseException:
                connection.close()
                raise
            self.has_connected = True
        return connection

    def _connect_sync(self, url: str) -> psycopg.Connection[Any]:
        return database.connect_sync(
            url, settings=self.settings, application_name=self.application_name
        )


class Patience:
    """How long a call is repeated when the connection is lost, and how often."""

    def __init__(self, source: Source, seconds: float) -> None:
        self._started = time.monotonic()
        # Somebody whose database was never there should not wait long to hear about it.
        self._seconds = seconds if source.has_connected else min(seconds, _FIRST_PATIENCE)
        self._delay = 0.05

    def next_delay(self, error: psycopg.Error) -> float:
        """Seconds to wait before the call is repeated.

        Raises:
            CurrantError: repeating does not help, or patience is over.
        """
        waited = time.monotonic() - self._started
        if not database.is_transient(error) or waited >= self._seconds:
            raise database.translate(error) from error
        self._delay = min(self._delay * 2, 2.0)
        jittered = self._delay * random.uniform(0.5, 1.0)
        return min(jittered, max(self._seconds - waited, 0.01))


class AsyncPool:
    """The connections of one client in one event loop; they are closed with the loop."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._idle: list[psycopg.AsyncConnection[Any]] = []
        self._slots = asyncio.Semaphore(_MAX_CONNECTIONS)
        self._guard: AsyncGenerator[None, None] | None = None
        self._is_closed = False
        self.ends = EndListener(source.open_listening)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
        """An idle connection, or a new one, for as long as the context is open."""
        if self._guard is None:
            self._guard = self._close_with_loop()
            await anext(self._guard)
        async with self._slots:
            connection = self._idle.pop() if self._idle else await self._source.open()
            try:
                yield connection
            finally:
                await self._take_back(connection)

    async def _take_back(self, connection: psycopg.AsyncConnection[Any]) -> None:
        is_usable = not connection.closed and (
            connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
        )
        if is_usable and not self._is_closed:
            self._idle.append(connection)
            return
        # One lost connection usually means that the server went, and the others with it.
        if connection.closed:
            await self._close_idle()
        await connection.close()

    async def _close_with_loop(self) -> AsyncGenerator[None, None]:
        # A loop that ends orderly finishes the async generators that were begun in it.
        try:
            yield
        finally:
            await self.close()

    async def _close_idle(self) -> None:
        while self._idle:
            await self._idle.pop().close()

    async def close(self) -> None:
        """Close what is idle now, and the rest when it is given back."""
        self._is_closed = True
        await self.ends.close()
        await self._close_idle()

    def abandon(self) -> None:
        """Close the sockets of a loop that ended without a word."""
        self._is_closed = True
        while self._idle:
            # Named, so that it is still there while it is being closed.
            connection = self._idle.pop()
            connection.pgconn.finish()


class SyncPool:
    """The connections of one client for code without an event loop, shared by threads."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._idle: list[psycopg.Connection[Any]] = []
        self._slots = threading.BoundedSemaphore(_MAX_SYNC_CONNECTIONS)

    @contextmanager
    def connection(self) -> Iterator[psycopg.Connection[Any]]:
        """An idle connection, or a new one, for as long as the context is open."""
        with self._slots:
            try:
                connection = self._idle.pop()
            except IndexError:
                connection = self._source.open_sync()
            try:
                yield connection
            finally:
                self._take_back(connection)

    def _take_back(self, connection: psycopg.Connection[Any]) -> None:
        if connection.closed:
            self.close()
        elif connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE:
            self._idle.append(connection)
        else:
            connection.close()

    def close(self) -> None:
        """Close what is idle now."""
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:  # of several threads that close, one gets the last
                return
            connection.close()


class _Lock:
    """Held for moments by one thread at a time, also in the child of a fork."""

    def __init__(self) -> None:
        self.renew()
        os.register_at_fork(after_in_child=self.renew)

    def renew(self) -> None:
        # The thread that held it is not there in the child. Reentrant, since a signal's handler
        # may interrupt its owner.
        self._lock = threading.RLock()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_exc: object) -> None:
        self._lock.release()


# One for all, as there is no taking back what is registered for forks.
_pools_lock = _Lock()


class Pools:
    """All connections of one client: a pool per event loop and one without, of this process."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self._reset()

    def _reset(self) -> None:
        self._pid = os.getpid()
        self._by_loop: dict[asyncio.AbstractEventLoop, AsyncPool] = {}
        self._sync = SyncPool(self.source)
        self._waiting = threading.BoundedSemaphore(_MAX_SYNC_CONNECTIONS)

    # After a fork the sockets are the parent's. They are neither used nor closed here, and kept,
    # so that no destructor says goodbye to the server in the parent's name.
    _inherited: tuple[object, ...] = ()

    def _check_process(self) -> None:
        with _pools_lock:
            if self._pid != os.getpid():
                self._inherited = (*self._inherited, self._by_loop, self._sync)
                self._reset()

    def of_loop(self) -> AsyncPool:
        """The pool of the running event loop."""
        self._check_process()
        loop = asyncio.get_running_loop()
        with _pools_lock:
            pool = self._by_loop.get(loop)
            if pool is not None:
                return pool
            pool = self._by_loop[loop] = AsyncPool(self.source)
        self._abandon_ended()
        return pool

    def of_threads(self) -> SyncPool:
        """The pool for code without an event loop."""
        self._check_process()
        return self._sync

    @contextmanager
    def waiting_connection(self) -> Iterator[tuple[psycopg.Connection[Any] | None, bool]]:
        """A connection for one thread to wait on, and whether notifications reach it.

        It is none of the pool's, so that those who wait do not keep others from working. There is
        none if as many threads wait already.
        """
        self._check_process()
        slots = self._waiting
        if not slots.acquire(blocking=False):
            yield None, False
            return
        try:
            with self.source.open_sync() as connection:
                yield connection, self.source.is_told
        finally:
            slots.release()

    async def close(self) -> None:
        """Close the connections of the running loop and those of threads."""
        self._check_process()
        with _pools_lock:
            pool = self._by_loop.pop(asyncio.get_running_loop(), None)
        if pool is not None:
            await pool.close()
        self._sync.close()

    def close_sync(self) -> None:
        """Close the connections of threads, and of loops that have ended."""
        self._check_process()
        self._abandon_ended()
        self._sync.close()

    def _abandon_ended(self) -> None:
        with _pools_lock:
            ended = [loop for loop in self._by_loop if loop.is_closed()]
            pools = [self._by_loop.pop(loop) for loop in ended]
        for pool in pools:
            pool.abandon()


@contextmanager
def translated() -> Iterator[None]:
    """Errors of psycopg in here, also those that SQLAlchemy or Django wraps, become Currant's."""
    try:
        yield
    except Exception as error:
        for inner in (error, getattr(error, "orig", None), error.__cause__):
            if isinstance(inner, psycopg.Error):
                raise database.translate(inner) from error
        raise


async def run_on(connection: Any, call: database.Call[T]) -> T:
    """Run the call in the caller's transaction: on a connection of psycopg, asyncpg, SQLAlchemy,
    Django or any other DBAPI driver for PostgreSQL."""
    if isinstance(connection, psycopg.AsyncConnection):
        return await database.run(connection, call)
    if _is_from(connection, "asyncpg"):
        return call.read(await connection.fetch(_numbered(call.sql), *call.params))
    if _is_from(connection, "sqlalchemy.ext.asyncio"):
        if not hasattr(connection, "exec_driver_sql"):
            connection = await connection.connection()
        rows = await connection.exec_driver_sql(*_for_dialect(connection, call))
        return call.read([tuple(row) for row in rows])
    return run_on_sync(connection, call)


def run_on_sync(connection: Any, call: database.Call[T]) -> T:
    """`run_on` for code without an event loop."""
    if isinstance(connection, psycopg.Connection):
        return database.run_sync(connection, call)
    if _is_from(connection, "sqlalchemy.ext.asyncio") or isinstance(
        connection, psycopg.AsyncConnection
    ):
        raise errors.OptionError(
            "option connection is an async connection", hint="use the async form and await it"
        )
    if _is_from(connection, "sqlalchemy"):
        if not hasattr(connection, "exec_driver_sql"):
            connection = connection.connection()
        rows = connection.exec_driver_sql(*_for_dialect(connection, call))
        return call.read([tuple(row) for row in rows])
    if not hasattr(connection, "cursor"):
        raise errors.OptionError(
            f"option connection is no connection: {connection!r:.100}",
            hint="give one of psycopg, asyncpg, SQLAlchemy or Django",
        )
    cursor = connection.cursor()
    try:
        cursor.execute(call.sql, tuple(call.params))
        return call.read([tuple(row) for row in cursor.fetchall()])
    finally:
        cursor.close()


def _is_from(connection: Any, package: str) -> bool:
    return any(
        kind.__module__ == package or kind.__module__.startswith(f"{package}.")
        for kind in type(connection).__mro__
    )


def _for_dialect(connection: Any, call: database.Call[Any]) -> tuple[str, tuple[object, ...]]:
    is_numbered = connection.dialect.paramstyle == "numeric_dollar"
    return _numbered(call.sql) if is_numbered else call.sql, tuple(call.params)


def _numbered(sql: str) -> str:
    numbers = iter(range(1, sql.count("%s") + 1))
    return re.sub("%s", lambda _: f"${next(numbers)}", sql)

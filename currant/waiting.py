"""Waiting for executions to end: told by NOTIFY where that works, by looking again where not."""

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import psycopg

from currant import database

logger = logging.getLogger("currant")

_MAX_RECONNECT_DELAY = 10.0


def pauses(*, is_told: bool) -> Iterator[float]:
    """Seconds to wait before looking again, one pause after the other.

    Somebody who will be told looks again at once, in case the end was being committed while he
    asked for it, and then as often as the request to be told has to be renewed.
    """
    pause, factor, longest = (0.005, 5.0, 25.0) if is_told else (0.02, 1.5, 1.0)
    while True:
        yield pause
        pause = min(pause * factor, longest)


def wait_sync(
    connection: psycopg.Connection[Any], execution: str, deadline: float | None, *, is_told: bool
) -> bool:
    """Wait without an event loop; whether the execution has ended before the deadline.

    Args:
        connection: for this alone; it may be left listening.
        deadline: by the monotonic clock, or None.
        is_told: whether notifications reach the connection.
    """
    if is_told:
        database.run_sync(connection, database.listen(database.ENDED_CHANNEL))
    watch = database.watch(execution)
    for pause in pauses(is_told=is_told):
        if database.run_sync(connection, watch).is_end:
            return True
        if deadline is not None:
            pause = min(pause, deadline - time.monotonic())
            if pause <= 0:
                return False
        if not is_told:
            time.sleep(pause)
            continue
        for notification in connection.notifies(timeout=pause):
            if notification.payload == execution:
                break
    raise AssertionError("pauses never end")


class EndListener:
    """One connection that hears of ends, shared by all who wait in one event loop.

    Args:
        connect: opens a connection to listen on, or gives None where nothing would be heard.
    """

    def __init__(self, connect: Callable[[], Awaitable[psycopg.AsyncConnection[Any] | None]]):
        self._connect = connect
        self._waiting: dict[str, set[asyncio.Event]] = {}
        self._task: asyncio.Task[None] | None = None
        self._first_try = asyncio.Event()
        self.is_listening = False

    @asynccontextmanager
    async def waiting_for(self, execution: str) -> AsyncIterator[asyncio.Event]:
        """An event that is set when the execution may have ended.

        When the context is entered, either ends are being heard of or `is_listening` is false.
        """
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(
                self._listen(), name="currant-end-listener"
            )
        await self._first_try.wait()
        event = asyncio.Event()
        self._waiting.setdefault(execution, set()).add(event)
        try:
            yield event
        finally:
            others = self._waiting[execution]
            others.discard(event)
            if not others:
                del self._waiting[execution]

    async def _listen(self) -> None:
        delay = 0.1
        failures = 0
        while True:
            try:
                connection = await self._connect()
                if connection is None:
                    return
                async with connection:
                    await database.run(connection, database.listen(database.ENDED_CHANNEL))
                    self.is_listening = True
                    self._first_try.set()
                    delay = 0.1
                    failures = 0
                    # Whoever waited while nobody listened has to look for himself.
                    self._wake(self._waiting)
                    async for notification in connection.notifies():
                        self._wake([notification.payload])
            except Exception as error:
                # Whatever it is, who waits looks for himself. Failing once is a lost connection.
                failures += 1
                level = logging.WARNING if failures == 2 else logging.DEBUG
                logger.log(level, "no notifications of ends, polling meanwhile: %s", error)
            finally:
                self.is_listening = False
                self._first_try.set()
            self._wake(self._waiting)
            await asyncio.sleep(delay * random.uniform(0.5, 1.0))
            delay = min(delay * 2, _MAX_RECONNECT_DELAY)

    def _wake(self, executions: Iterable[str]) -> None:
        for execution in list(executions):
            for event in self._waiting.get(execution, ()):
                event.set()

    async def close(self) -> None:
        """Stop listening."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

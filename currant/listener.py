"""Receives notifications on a connection of its own, which is made again when it is lost.

Notifications only save waiting: whoever relies on them polls as well.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import psycopg

from currant import database

_LOG = logging.getLogger("currant")


class Listener:
    """Calls a handler with the payload of every notification on its channel, on the event loop.

    Args:
        connect: opens a connection to listen on.
        handlers: for each channel.
        on_listening: told whether notifications arrive, whenever that changes.
    """

    def __init__(
        self,
        connect: Callable[[], Awaitable[psycopg.AsyncConnection[Any]]],
        handlers: Mapping[str, Callable[[str], None]],
        on_listening: Callable[[bool], None],
    ) -> None:
        self._connect = connect
        self._handlers = handlers
        self._on_listening = on_listening

    async def run(self) -> None:
        """Listen until cancelled."""
        failures = 0
        while True:
            try:
                connection = await self._connect()
                try:
                    for channel in self._handlers:
                        await database.run(connection, database.listen(channel))
                    failures = 0
                    # What was notified before this connection listened is made up for by looking.
                    self._on_listening(True)
                    async for notification in connection.notifies():
                        self._handlers[notification.channel](notification.payload)
                finally:
                    self._on_listening(False)
                    await connection.close()
            except Exception as error:
                # Whatever it is, work goes on without: somebody polls.
                delay = random.uniform(0.5, 1) * min(0.2 * 2**failures, 10)
                failures = min(failures + 1, 10)
                level = logging.WARNING if failures == 2 else logging.DEBUG
                _LOG.log(level, "no notifications, polling meanwhile: %s", error)
                await asyncio.sleep(delay)

"""When a worker looks after the database: due timers and retries, dead workers and deadlines.

All times are seconds of the monotonic clock.
"""

import math
import time
from typing import Any, Final

import psycopg

from currant import database
from currant.appetite import Appetite

# A busy worker looks for due timers and retries this often.
_TICK_INTERVAL: Final = 0.1
# One that is told what becomes due looks this often all the same.
_TOLD_TICK_INTERVAL: Final = 5.0


class Maintenance:
    """Remembers when the next rounds are due.

    Args:
        appetite: is told that something has become due, and knows whether the worker hears of it.
        poll_interval: seconds between looks of an idle worker for what is due.
        recover_interval: seconds between looks for dead workers and deadlines.
    """

    def __init__(
        self, appetite: Appetite, *, poll_interval: float, recover_interval: float
    ) -> None:
        self._appetite = appetite
        self._poll_interval = poll_interval
        self._recover_interval = recover_interval
        self._tick_at = 0.0
        self._recover_at = 0.0

    @property
    def due_at(self) -> float:
        """When the next round is due."""
        return min(self._tick_at, self._recover_at)

    @property
    def is_due(self) -> bool:
        """Whether a round is due now."""
        return time.monotonic() >= self.due_at

    def look_now(self) -> None:
        """Something may have become due."""
        self._tick_at = 0.0

    def look_soon(self) -> None:
        """Something may become due before the worker would look by itself."""
        self._tick_at = min(self._tick_at, time.monotonic() + _TICK_INTERVAL)

    async def run(self, connection: psycopg.AsyncConnection[Any], *, is_busy: bool) -> None:
        """The rounds whose time has come."""
        now = time.monotonic()
        if now >= self._recover_at:
            result = await database.run(connection, database.tick("recover"))
            if not result.more:
                self._recover_at = now + self._recover_interval
        if now < self._tick_at:
            return
        # What is announced meanwhile may have come too late for it.
        self._tick_at = math.inf
        result = await database.run(connection, database.tick("due"))
        if result.done:
            self._appetite.nudge()
        if self._appetite.is_declared:
            rest = _TOLD_TICK_INTERVAL
        else:
            rest = _TICK_INTERVAL if is_busy else self._poll_interval
        if result.next_due_in is not None:
            rest = min(rest, max(result.next_due_in.total_seconds(), 0.001))
        self._tick_at = min(self._tick_at, time.monotonic() + (0 if result.more else rest))

"""Ends tasks whose time is over, with one timer for all of them.

Most tasks end long before their deadline; a timer for each would be set up and taken back for
nothing.
"""

import asyncio
import time
from typing import Protocol


class Limited(Protocol):
    """What has a deadline."""

    @property
    def deadline(self) -> float:
        """On the monotonic clock; may be infinite."""

    def expire(self) -> None:
        """Its time is over."""


class Deadlines:
    """Calls `expire` once for everything that is still there at its deadline."""

    def __init__(self) -> None:
        self._limited: set[Limited] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._fires_at = float("inf")

    def add(self, limited: Limited) -> None:
        """From now on. On the event loop."""
        self._limited.add(limited)
        self._fire_by(limited.deadline)

    def discard(self, limited: Limited) -> None:
        """It is over, if it was there at all. Its timer is left to find nothing."""
        self._limited.discard(limited)

    def _fire_by(self, deadline: float) -> None:
        if deadline >= self._fires_at:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._fires_at = deadline
        pause = max(deadline - time.monotonic(), 0)
        self._timer = asyncio.get_running_loop().call_later(pause, self._fire)

    def _fire(self) -> None:
        self._timer = None
        self._fires_at = float("inf")
        now = time.monotonic()
        for limited in [each for each in self._limited if each.deadline <= now]:
            self._limited.discard(limited)
            limited.expire()
        if self._limited:
            self._fire_by(min(each.deadline for each in self._limited))

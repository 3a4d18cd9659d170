"""Signals of one name that reached a run, and who waits for them."""

import asyncio
from collections import deque


class Mailbox:
    """Hands each signal to exactly one waiter, both in the order in which they came."""

    __slots__ = ("_name", "_payloads", "_waiters")

    def __init__(self, name: str) -> None:
        self._name = name
        # Never both at once: a signal is kept only while nobody waits.
        self._payloads: deque[str] = deque()
        self._waiters: deque[asyncio.Future[str]] = deque()

    @property
    def is_awaited(self) -> bool:
        """Whether anybody waits for a signal of this name."""
        return any(not waiter.done() for waiter in self._waiters)

    def deliver(self, payload: str) -> None:
        """A signal has come."""
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                # A signal is an event of its own, so the task that waits is the next to run:
                # nothing can cancel it between now and then, and lose the signal.
                waiter.set_result(payload)
                return
        self._payloads.append(payload)

    async def receive(self, timeout: float | None) -> str:
        """Take the oldest signal, waiting for it if need be.

        Raises:
            TimeoutError: none came in so many seconds. The next wait waits anew.
        """
        if self._payloads:
            return self._payloads.popleft()
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[str] = asyncio.Future(loop=loop)
        self._waiters.append(waiter)
        timer = None if timeout is None else loop.call_later(timeout, self._expire, waiter, timeout)
        try:
            return await waiter
        finally:
            if waiter in self._waiters:
                self._waiters.remove(waiter)
            if timer is not None:
                timer.cancel()

    def _expire(self, waiter: asyncio.Future[str], timeout: float) -> None:
        if not waiter.done():
            waiter.set_exception(
                TimeoutError(f"no signal {self._name!r} came within {timeout:g} seconds")
            )

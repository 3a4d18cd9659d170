"""Signals that reached a run, and who waits for them."""

import asyncio
from collections import deque
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

import msgspec

if TYPE_CHECKING:
    from currant.workflow.loop import WorkflowLoop


class _Unread(NamedTuple):
    """A signal that nobody has taken yet; `event` is the number under which it came."""

    event: int
    payload: str


class Mailbox:
    """Hands each signal of one name to exactly one waiter, both in the order in which they came."""

    __slots__ = ("_name", "_waiters", "unread")

    def __init__(self, name: str) -> None:
        self._name = name
        # Never both at once: a signal is kept only while nobody waits.
        self.unread: deque[_Unread] = deque()
        self._waiters: deque[asyncio.Future[str]] = deque()

    @property
    def is_awaited(self) -> bool:
        """Whether anybody waits for a signal of this name."""
        return any(not waiter.done() for waiter in self._waiters)

    @property
    def is_empty(self) -> bool:
        """Whether there is neither a signal nor anybody who waits for one."""
        return not self.unread and not self._waiters

    def deliver(self, payload: str, event: int) -> None:
        """A signal has come."""
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                # A signal is an event of its own, so the task that waits is the next to run:
                # nothing can cancel it between now and then, and lose the signal.
                waiter.set_result(payload)
                return
        self.unread.append(_Unread(event, payload))

    async def receive(self, loop: "WorkflowLoop", timeout: float | None) -> str:
        """Take the oldest signal, waiting for it if need be.

        Raises:
            TimeoutError: none came in so many seconds. The next wait waits anew.
        """
        if self.unread:
            return self.unread.popleft().payload
        waiter: asyncio.Future[str] = asyncio.Future(loop=loop)
        self._waiters.append(waiter)
        expired = f"no signal {self._name!r} came within"
        timer = loop.limit(waiter, timeout, expired, name=f"signal {self._name}")
        try:
            return await waiter
        finally:
            if waiter in self._waiters:
                self._waiters.remove(waiter)
            if timer is not None:
                timer.cancel()


class _Carried(msgspec.Struct, omit_defaults=True):
    name: str
    payload: msgspec.Raw
    event: int = 0


_carried = msgspec.json.Decoder(list[_Carried])


class Mailboxes:
    """The mailboxes of a run, one for each name."""

    __slots__ = ("_by_name",)

    def __init__(self) -> None:
        self._by_name: dict[str, Mailbox] = {}

    async def receive(self, name: str, loop: "WorkflowLoop", timeout: float | None) -> str:
        """Take the oldest signal of a name, waiting for it if need be; see `Mailbox.receive`."""
        mailbox = self._of(name)
        try:
            return await mailbox.receive(loop, timeout)
        finally:
            # Names may be made up for one answer each, and there may be any number of them.
            if mailbox.is_empty and self._by_name.get(name) is mailbox:
                del self._by_name[name]

    @property
    def is_quiet(self) -> bool:
        """Whether there is neither a signal nor anybody who waits for one."""
        return not self._by_name

    @property
    def awaited(self) -> list[str]:
        """The names of signals that are waited for."""
        return [name for name, mailbox in self._by_name.items() if mailbox.is_awaited]

    def deliver(self, name: str, payload: str, event: int) -> None:
        """A signal has come, as the event of that number."""
        self._of(name).deliver(payload, event)

    def _of(self, name: str) -> Mailbox:
        if name not in self._by_name:
            self._by_name[name] = Mailbox(name)
        return self._by_name[name]

    def unread(self) -> str:
        """What nobody has taken, oldest first, as the JSON that `take_over` takes."""
        left = [
            _Carried(name, msgspec.Raw(signal.payload.encode()), signal.event)
            for name, mailbox in self._by_name.items()
            for signal in mailbox.unread
        ]
        return msgspec.json.encode(sorted(left, key=attrgetter("event"))).decode()

    def unread_events(self) -> list[int]:
        """The numbers of the events that brought what nobody has taken."""
        return sorted(
            signal.event for mailbox in self._by_name.values() for signal in mailbox.unread
        )

    def take_over(self, signals: str | bytes) -> None:
        """Deliver what an earlier run has left, under the numbers of its events."""
        left = _carried.decode(signals)
        for place, signal in enumerate(left, start=-len(left)):
            self.deliver(signal.name, bytes(signal.payload).decode(), signal.event or place)

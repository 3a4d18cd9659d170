"""Tasks, futures and handles of the workflow loop.

Sets of tasks and futures are iterated in the order of their hashes, and asyncio itself does it
(`wait`, `TaskGroup`). The usual hash is the address in memory, so these have a serial number.
"""

import asyncio
import contextvars
import sys
from collections.abc import Callable, Coroutine, Generator
from typing import TYPE_CHECKING, Any, TypeVar

if sys.version_info >= (3, 13):
    from asyncio import Task as _Task
else:
    from currant.workflow.older import RevocableTask as _Task

if TYPE_CHECKING:
    from currant.workflow.intents import Site, Timer
    from currant.workflow.ledger import Ledger

T = TypeVar("T")


class Future(asyncio.Future[T]):
    """A future whose hash is its serial number."""

    __slots__ = ("serial",)

    def __init__(self, *, loop: asyncio.AbstractEventLoop, serial: int) -> None:
        self.serial = serial
        super().__init__(loop=loop)

    def __hash__(self) -> int:
        return self.serial


class Task(_Task[T]):
    """A task whose hash is its serial number.

    Attributes:
        own_context: what its code runs in; asyncio tells that from Python 3.12 on.
        site: where the user's code created it.
    """

    __slots__ = ("own_context", "serial", "site")

    def __init__(
        self,
        coroutine: Generator[Any, None, T] | Coroutine[Any, Any, T],
        *,
        loop: asyncio.AbstractEventLoop,
        name: str,
        context: contextvars.Context | None,
        serial: int,
        site: "Site | None",
    ) -> None:
        # asyncio puts the task into a set while it is being constructed.
        self.serial = serial
        self.site = site
        self.own_context = contextvars.copy_context() if context is None else context
        super().__init__(coroutine, loop=loop, name=name, context=self.own_context)

    def __hash__(self) -> int:
        return self.serial

    @property
    def is_failure_unseen(self) -> bool:
        """Whether it ended with an exception that nobody has asked for."""
        return self._log_traceback


class Handle(asyncio.Handle):
    """A callback in the queue. Much cheaper to make than asyncio's own."""

    __slots__ = ("args", "callback", "context")

    def __init__(
        self,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        context: contextvars.Context | None,
    ) -> None:
        self.callback = callback
        self.args = args
        self.context = contextvars.copy_context() if context is None else context
        self._cancelled = False

    def cancel(self) -> None:
        self._cancelled = True

    def cancelled(self) -> bool:
        return self._cancelled

    def get_context(self) -> contextvars.Context:
        return self.context

    def __repr__(self) -> str:
        state = " cancelled" if self._cancelled else ""
        return f"<{type(self).__name__}{state} {self.callback!r}>"


class TimerHandle(asyncio.TimerHandle):
    """A callback that a durable timer will put into the queue."""

    __slots__ = ("args", "callback", "context", "deadline", "intent", "ledger")

    def __init__(
        self,
        deadline: float,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        context: contextvars.Context | None,
        ledger: "Ledger",
    ) -> None:
        self.deadline = deadline
        self.callback = callback
        self.args = args
        self.context = contextvars.copy_context() if context is None else context
        self.ledger = ledger
        self.intent: Timer | None = None
        self._cancelled = False

    def cancel(self) -> None:
        if not self._cancelled:
            self._cancelled = True
            if self.intent is not None:
                self.ledger.cancel(self.intent)

    def cancelled(self) -> bool:
        return self._cancelled

    def when(self) -> float:
        return self.deadline

    def get_context(self) -> contextvars.Context:
        return self.context

    # asyncio's are ordered by deadline, for a heap that this loop does not have.
    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        return self is other

    def __repr__(self) -> str:
        state = " cancelled" if self._cancelled else ""
        return f"<{type(self).__name__}{state} when={self.deadline} {self.callback!r}>"

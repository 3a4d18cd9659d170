"""Conditions that workflow code waits for: functions of its own variables."""

import asyncio
import contextvars
import inspect
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from currant.workflow.intents import Site, in_short

if TYPE_CHECKING:
    from currant.workflow.loop import WorkflowLoop


class Condition:
    """Something that is to become true.

    Attributes:
        future: done when it has; it holds the exception if looking raised one.
    """

    __slots__ = ("_context", "_predicate", "_site", "future")

    def __init__(
        self, predicate: Callable[[], Any], future: asyncio.Future[None], site: Site | None
    ) -> None:
        self._predicate = predicate
        self._context = contextvars.copy_context()
        self._site = site
        self.future = future

    def __str__(self) -> str:
        return f"condition ({in_short(self._site) or 'of an unknown place'})"

    def look(self) -> bool:
        """Whether it is true now."""
        return self._context.run(holds, self._predicate)


def holds(predicate: Callable[[], Any]) -> bool:
    """Whether a condition is true now.

    Raises:
        TypeError: it is a coroutine, which would always count as true.
    """
    value = predicate()
    if inspect.iscoroutine(value):
        value.close()
        raise TypeError("a condition has to be a plain function, not a coroutine function")
    return bool(value)


class Conditions:
    """The conditions of a run, in the order in which they were begun to be waited for."""

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        # A dict for its order.
        self._waiting: dict[Condition, None] = {}

    def __iter__(self) -> Iterator[Condition]:
        return (each for each in list(self._waiting) if not each.future.done())

    def __len__(self) -> int:
        return len(self._waiting)

    async def wait(
        self,
        loop: "WorkflowLoop",
        predicate: Callable[[], Any],
        timeout: float | None,
        site: Site | None,
    ) -> None:
        """Wait until the predicate is true.

        Raises:
            TimeoutError: it was not in so many seconds.
        """
        if holds(predicate):
            return
        future: asyncio.Future[None] = asyncio.Future(loop=loop)
        condition = Condition(predicate, future, site)
        timer = loop.limit(
            future, timeout, "the condition did not come true within", name="condition"
        )
        self._waiting[condition] = None
        try:
            await future
        finally:
            self._waiting.pop(condition, None)
            if timer is not None:
                timer.cancel()

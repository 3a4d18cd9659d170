"""Threads that may hang: for sync tasks and for workflow code.

An ordinary executor joins its threads at exit and counts a hung one as busy for ever. These threads
are daemons: whoever started a call may give it up, its thread no longer counts, and exit waits for
nobody.
"""

import asyncio
import contextvars
import itertools
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, Final, TypeVar

T = TypeVar("T")

# An idle thread ends after this many seconds.
_IDLE_SECONDS: Final = 30.0

_numbers = itertools.count(1)


class Threads:
    """Runs calls in threads, one call each at a time; there are as many threads as calls."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._calls: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._idle = 0
        self._lock = threading.Lock()

    def run(self, function: Callable[[], T]) -> asyncio.Future[T]:
        """Call the function in a thread, in a copy of this context; the future is this loop's.

        Cancelling the future gives the call up: it goes on in its thread, and what comes of it is
        ignored.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        context = contextvars.copy_context()

        def finish(result: Any, error: BaseException | None) -> None:
            if future.done():
                return
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(result)

        def call() -> None:
            result: Any = None
            failure: BaseException | None = None
            try:
                result = context.run(function)
            except StopIteration as error:
                # A future refuses it, since it would end the coroutine that awaits it.
                failure = RuntimeError("the function raised StopIteration")
                failure.__cause__ = error
            except BaseException as error:
                failure = error
            # A closed loop refuses: nobody waits any more.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(finish, result, failure)

        self._submit(call)
        return future

    def _submit(self, call: Callable[[], None]) -> None:
        with self._lock:
            if self._idle:
                self._idle -= 1
            else:
                name = f"{self._name}-{next(_numbers)}"
                threading.Thread(target=self._serve, name=name, daemon=True).start()
        self._calls.put(call)

    def _serve(self) -> None:
        while True:
            try:
                call = self._calls.get(timeout=_IDLE_SECONDS)
            except Empty:
                with self._lock:
                    # A call may have been promised to this thread just now.
                    if self._idle == 0:
                        continue
                    self._idle -= 1
                    return
            call()
            with self._lock:
                self._idle += 1

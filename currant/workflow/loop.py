"""The event loop that workflow code runs on.

A first-in-first-out queue of callbacks and a clock that the history moves: no I/O, no threads,
no waiting. What asyncio builds on a loop (gather, timeouts, task groups, locks, queues) works on
it, and works in the same order at every replay.
"""

import asyncio
import contextvars
import logging
import math
import sys
import threading
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from functools import lru_cache
from hashlib import sha256
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, TypeVarTuple

from currant.errors import NotAllowedInWorkflow
from currant.workflow.conditions import Condition, Conditions
from currant.workflow.futures import Future, Handle, Task, TimerHandle
from currant.workflow.history import EPOCH, RunInfo
from currant.workflow.intents import Site, Timer
from currant.workflow.ledger import Ledger

if TYPE_CHECKING:
    from currant.workflow.instance import Instance

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

logger = logging.getLogger("currant")

# A delay beyond this is the same as waiting for ever, and no timer is made for it.
_LONGEST_SECONDS = 1000 * 365 * 86400
_SHORTEST_SECONDS = 0.001

_PACKAGE = Path(__file__).parent.parent
_INTERNAL = (f"{Path(asyncio.__file__).parent}/", f"{_PACKAGE}/")


@lru_cache(maxsize=4096)
def is_internal(filename: str) -> bool:
    return filename.startswith(_INTERNAL)


class Interrupted(BaseException):
    """Thrown into workflow code that does not give way. Never leaves this package."""


def _refuse(name: str, remedy: str) -> Any:
    def refused(self: "WorkflowLoop", *args: Any, **kwargs: Any) -> NoReturn:
        raise NotAllowedInWorkflow(f"loop.{name}() is not possible in a workflow", hint=remedy)

    refused.__name__ = name
    return refused


_PUT_INTO_TASK = "workflow code is replayed and must be repeatable: do this in a task"
_SEND_SIGNAL = "nothing reaches into a workflow from outside: send it a signal"
_OUR_LOOP = "Currant drives this loop"

_REFUSED = {
    _OUR_LOOP: (
        "run_forever run_until_complete stop close shutdown_asyncgens "
        "shutdown_default_executor set_debug set_task_factory get_task_factory "
        "set_exception_handler get_exception_handler"
    ),
    _PUT_INTO_TASK: (
        "set_default_executor run_in_executor getaddrinfo getnameinfo create_connection "
        "create_server create_unix_connection create_unix_server create_datagram_endpoint "
        "connect_accepted_socket connect_read_pipe connect_write_pipe start_tls sendfile "
        "subprocess_exec subprocess_shell add_reader remove_reader add_writer remove_writer "
        "sock_accept sock_connect sock_recv sock_recv_into sock_recvfrom sock_recvfrom_into "
        "sock_sendall sock_sendfile sock_sendto"
    ),
    _SEND_SIGNAL: ("call_soon_threadsafe add_signal_handler remove_signal_handler"),
}


class WorkflowLoop(asyncio.AbstractEventLoop):
    """A deterministic event loop for one run.

    Attributes:
        conditions: what its code waits for besides commands and signals.
        is_halted: nothing more is to run: the main function has ended, or was interrupted.
        now: the time of the event being applied; it never goes back.
    """

    def __init__(self, run: RunInfo, ledger: Ledger) -> None:
        self._run = run
        self._ledger = ledger
        self._ready: deque[Handle | TimerHandle] = deque()
        self._tasks: dict[int, Task[Any]] = {}
        self._failed: list[Task[Any]] = []
        self._failed_limit = 64
        self._task_count = 0
        self._generators: list[AsyncGenerator[Any, Any]] = []
        self._generators_limit = 64
        self._bookkeeping = contextvars.Context()
        # Runs begin far apart, since asyncio keeps the tasks of all loops in one set.
        self._serial = int.from_bytes(sha256(run.id.bytes).digest()[:7], "big")
        self.instance: Instance
        self.conditions = Conditions()
        self.now = EPOCH
        self.is_halted = False

    # --- what Currant drives

    def run(self) -> None:
        """Run callbacks until none is ready and no condition comes true: one drain."""
        self._run_ready()
        any_true = len(self.conditions) > 0
        while any_true:
            any_true = False
            for condition in self.conditions:
                # Who waited runs before the next is looked at, so that what it sees is still true.
                if not self.is_halted and not condition.future.done() and self._look(condition):
                    any_true = True
                    self._run_ready()

    def _run_ready(self) -> None:
        ready = self._ready
        while ready and not self.is_halted:
            handle = ready.popleft()
            if handle._cancelled:
                continue
            try:
                handle.context.run(handle.callback, *handle.args)
            except (Interrupted, MemoryError):
                raise
            except BaseException as error:
                # A task keeps its exception; what arrives here besides is from a bare callback,
                # or a sys.exit(), which asyncio passes on as well.
                if is_ctrl_c(error):
                    raise
                self.call_exception_handler(
                    {"message": f"exception in {handle!r}", "exception": error}
                )

    def _look(self, condition: Condition) -> bool:
        """Whether there is something to tell who waits for it: that it is true, or an error."""
        try:
            if condition.look():
                condition.future.set_result(None)
                return True
            return False
        except (Interrupted, MemoryError):
            raise
        except StopIteration as error:
            # As in any coroutine: it cannot be told from the end of one.
            stopped = RuntimeError("a condition raised StopIteration")
            stopped.__cause__ = error
            condition.future.set_exception(stopped)
        except BaseException as error:
            if is_ctrl_c(error):
                raise
            condition.future.set_exception(error)
        return True

    def fire(self, handle: TimerHandle) -> None:
        """Queue the callback of a timer that is due."""
        handle.intent = None
        self._ready.append(handle)

    def track_generator(self, generator: AsyncGenerator[Any, Any]) -> None:
        """Keep an async generator from being collected, at a time that nobody can repeat."""
        if len(self._generators) >= self._generators_limit:
            # One without a frame has run to its end.
            self._generators = [g for g in self._generators if getattr(g, "ag_frame", None)]
            self._generators_limit = max(64, 2 * len(self._generators))
        self._generators.append(generator)

    def report_failures(self) -> None:
        """Log the exceptions of tasks that nobody has awaited.

        asyncio does so when such a task is collected, which is now or much later.
        """
        for task in (*self._failed, *self._tasks.values()):
            if task.is_failure_unseen:
                message = f"exception in {task.get_name()}, which nobody awaited"
                self.call_exception_handler({"message": message, "exception": task.exception()})

    def take_tasks(self) -> list[Task[Any]]:
        """The tasks that have not ended, in the order of their creation. They are let go."""
        tasks = list(self._tasks.values())
        self._tasks.clear()
        return tasks

    def take_generators(self) -> list[AsyncGenerator[Any, Any]]:
        """The async generators that were begun, in that order. They are let go."""
        generators, self._generators = self._generators, []
        return generators

    def drop_ready(self) -> None:
        """Forget the callbacks that are queued."""
        self._ready.clear()

    @property
    def tasks(self) -> list[Task[Any]]:
        """The tasks that have not ended, in the order of their creation."""
        # Another thread may look, so the dict is copied in one go.
        return [task for task in list(self._tasks.values()) if not task.done()]

    @property
    def is_silent(self) -> bool:
        """Whether what the code now says has been said before, or is of no interest."""
        return self._ledger.is_closed or not self._ledger.is_live

    def next_serial(self) -> int:
        """The next number for a hash."""
        self._serial += 1
        return self._serial

    def site(self) -> Site | None:
        """Where in the user's code the running call comes from.

        A coroutine that was handed to asyncio, as in `gather(sleep(1))`, has no user's frame below
        it; then it is the place where its task was made.
        """
        frame = sys._getframe(1)
        while True:
            code = frame.f_code
            if not is_internal(code.co_filename):
                return code.co_filename, frame.f_lineno
            if code is _DRAIN or frame.f_back is None:
                break
            frame = frame.f_back
        task = asyncio.current_task(self)
        return task.site if isinstance(task, Task) else None

    # --- what asyncio asks for

    def time(self) -> float:
        return (self.now - EPOCH).total_seconds()

    def call_soon(
        self,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: contextvars.Context | None = None,
    ) -> Handle:
        self._check_inside()
        handle = Handle(callback, args, context)
        self._ready.append(handle)
        return handle

    def call_later(
        self,
        delay: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: contextvars.Context | None = None,
    ) -> TimerHandle:
        self._check_inside()
        # float() alone would take texts, which no other loop does.
        given: object = delay
        if not isinstance(given, Real):
            raise TypeError(f"a delay has to be a number of seconds, not {delay!r}")
        delay = float(given)
        if math.isnan(delay):
            raise ValueError("a delay has to be a number of seconds, not NaN")
        handle = TimerHandle(self.time() + delay, callback, args, context, self._ledger)
        self._start(handle, delay)
        return handle

    def _check_inside(self) -> None:
        """Refuse what would be missing in a replay, since no event of this run has led to it."""
        if asyncio._get_running_loop() is not self:
            raise NotAllowedInWorkflow(
                f"workflow {self._run.function} {self._run.id} was reached into from outside",
                hint="make locks, events and queues of asyncio inside of the workflow that uses"
                " them, and from a thread or another workflow send it a signal",
            )

    def _start(self, handle: TimerHandle, delay: float, name: str | None = None) -> None:
        if delay <= 0:
            self._ready.append(handle)
        elif delay <= _LONGEST_SECONDS:
            # Rounded up, so that the clock has reached the deadline when the timer fires. The
            # inner rounding takes out what a float of seconds since 1970 cannot hold.
            milliseconds = -(-round(delay * 1_000_000) // 1000)
            handle.intent = Timer(milliseconds, self.site(), lambda _: self.fire(handle), name)
            self._ledger.add(handle.intent)

    def limit(
        self, waiter: asyncio.Future[Any], timeout: float | None, expired: str, *, name: str
    ) -> TimerHandle | None:
        """Have a future raise TimeoutError after so many seconds; None: never.

        Args:
            expired: the beginning of the error's message.
            name: what is limited, for the history.
        """
        if timeout is None:
            return None
        # A timer even for no time at all: what has been taken in together with the present event
        # is applied before it fires, and belongs to what was there already.
        delay = max(timeout, _SHORTEST_SECONDS)

        def expire() -> None:
            if not waiter.done():
                waiter.set_exception(TimeoutError(f"{expired} {timeout:g} seconds"))

        handle = TimerHandle(self.time() + delay, expire, (), None, self._ledger)
        self._start(handle, delay, name)
        return handle

    def call_at(
        self,
        when: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: contextvars.Context | None = None,
    ) -> TimerHandle:
        return self.call_later(when - self.time(), callback, *args, context=context)

    def create_future(self) -> Future[Any]:
        return Future(loop=self, serial=self.next_serial())

    def create_task(
        self,
        coro: Generator[Any, None, T] | Coroutine[Any, Any, T],
        *,
        name: str | None = None,
        context: contextvars.Context | None = None,
        **kwargs: Any,
    ) -> Task[T]:
        self._task_count += 1
        task = Task(
            coro,
            loop=self,
            name=f"Task-{self._task_count}" if name is None else name,
            context=context,
            serial=self.next_serial(),
            site=self.site(),
        )
        self._tasks[task.serial] = task
        task.add_done_callback(self._forget, context=self._bookkeeping)
        return task

    def _forget(self, task: Task[Any]) -> None:
        self._tasks.pop(task.serial, None)
        if task.is_failure_unseen:
            if len(self._failed) >= self._failed_limit:
                # Most have been awaited meanwhile.
                self._failed = [each for each in self._failed if each.is_failure_unseen]
                self._failed_limit = max(64, 2 * len(self._failed))
            self._failed.append(task)

    def get_debug(self) -> bool:
        """False. A future asks while it is being made, and has to be one that this loop made."""
        code = sys._getframe(1).f_code
        # Others are hashed by their address, so a set of them has another order at every replay.
        if not is_internal(code.co_filename) and "get_debug" not in code.co_names:
            raise NotAllowedInWorkflow(
                "asyncio.Future() and asyncio.Task() are not repeatable in a workflow",
                hint="use asyncio.get_running_loop().create_future() or asyncio.create_task()",
            )
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return self._ledger.is_closed

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Log what no code took care of; once, when it happens."""
        if not self.is_silent:
            logger.error(
                "workflow %s %s: %s",
                self._run.function,
                self._run.id,
                context.get("message"),
                exc_info=context.get("exception"),
            )

    default_exception_handler = call_exception_handler


for _remedy, _names in _REFUSED.items():
    for _name in _names.split():
        setattr(WorkflowLoop, _name, _refuse(_name, _remedy))

_DRAIN = WorkflowLoop._run_ready.__code__


def is_ctrl_c(error: BaseException) -> bool:
    """Whether the error comes from the terminal: Python raises that one in the main thread only."""
    main = threading.main_thread()
    return isinstance(error, KeyboardInterrupt) and threading.current_thread() is main

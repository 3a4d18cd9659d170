"""The same programs on asyncio itself: its own event loop, with the time of the history.

Nothing here replays, and nothing of Currant's loop is used. What the program asks of its
surroundings is answered when the history says so.

What asyncio promises no order for is pinned down here, in the way in which Currant does it:

- Sets of tasks and futures: asyncio iterates them in the order of addresses (in `wait`, when a
  `TaskGroup` gives up). Here the tasks have the hashes that Currant gives them.
- Timers that are due at the same time, and what a zero delay comes before or after: one timer is
  fired at a time, with everything that follows from it, and a zero delay is `call_soon`.
- `as_completed` begins bare coroutines in the order of a set; here in the order given.
- An async generator that is left early is closed whenever it is collected; here when all is over.
- `wait_for` and others changed from one version of Python to the next; here they are as in the
  newest. So on older ones they are written out.
"""

import asyncio
import json
import math
from collections.abc import Callable
from hashlib import sha256
from random import Random
from typing import Any

from currant.errors import ContinueAsNew
from currant.workflow.history import EPOCH, Event, RunInfo
from tests.properties.plain_world import PlainWorld
from tests.workflow.performing import run_program
from tests.workflow.programs import Program

Asked = tuple[str, int | None, str | None, Any]


class Ask:
    """Something that was asked of the surroundings."""

    def __init__(
        self, kind: str, name: str | None, detail: Any, answer: Callable[[Event], object] | None
    ) -> None:
        self.kind = kind
        self.name = name
        self.detail = detail
        self.answer = answer
        self.number: int | None = None
        self.is_dropped = False


class _Task(asyncio.Task[Any]):
    def __init__(self, coroutine: Any, *, serial: int, **rest: Any) -> None:
        self.serial = serial
        super().__init__(coroutine, **rest)

    def __hash__(self) -> int:
        return self.serial


class _Future(asyncio.Future[Any]):
    def __init__(self, *, serial: int, loop: asyncio.AbstractEventLoop) -> None:
        self.serial = serial
        super().__init__(loop=loop)

    def __hash__(self) -> int:
        return self.serial


class _Selector:
    """Is asked to wait when nothing is ready; it stops the loop instead."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def select(self, timeout: float | None) -> list[Any]:
        if timeout is None or timeout > 0:
            self._loop.stop()
        return []


class PlainLoop(asyncio.BaseEventLoop):
    """asyncio's loop, whose timers are fired from outside."""

    def __init__(self, run: "PlainRun", serial: int) -> None:
        super().__init__()
        self._selector = _Selector(self)
        self.now = EPOCH
        self._run = run
        self._serial = serial
        self._task_count = 0
        self.timers: dict[asyncio.TimerHandle, Ask] = {}
        self.set_exception_handler(lambda *_: None)

    def _process_events(self, _: list[Any]) -> None:
        """There are none: nothing is read or written."""

    def next_serial(self) -> int:
        self._serial += 1
        return self._serial

    def time(self) -> float:
        return (self.now - EPOCH).total_seconds()

    def create_future(self) -> Any:
        return _Future(serial=self.next_serial(), loop=self)

    def create_task(self, coro: Any, *, name: Any = None, context: Any = None) -> Any:
        self._task_count += 1
        name = name or f"Task-{self._task_count}"
        return _Task(coro, serial=self.next_serial(), loop=self, name=name, context=context)

    def call_later(self, delay: float, callback: Any, *args: Any, context: Any = None) -> Any:
        if delay <= 0:
            return self.call_soon(callback, *args, context=context)
        handle = asyncio.TimerHandle(self.time() + delay, callback, args, self, context)
        handle._scheduled = True  # type: ignore[attr-defined]
        seconds = math.ceil(round(delay * 1_000_000) / 1000) / 1000

        def fire(_: Event) -> None:
            self._ready.append(handle)  # type: ignore[attr-defined]

        self.timers[handle] = self._run.ask("timer", None, seconds, fire)
        return handle

    def call_at(self, when: float, callback: Any, *args: Any, context: Any = None) -> Any:
        return self.call_later(when - self.time(), callback, *args, context=context)

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        self._run.take_back(self.timers.pop(handle, None))

    def _asyncgen_finalizer_hook(self, agen: Any) -> None:
        self._run.left.append(agen)


class PlainRun:
    """A run of a program. Like an `Instance` it is given events, and says what it then asks for.

    Args:
        salt: where the hashes of its tasks begin; if not given, where Currant's begin.
    """

    def __init__(self, info: RunInfo, program: Program, salt: int | None = None) -> None:
        self.info = info
        self.program = program
        if salt is None:
            salt = int.from_bytes(sha256(info.id.bytes).digest()[:7], "big")
        self.loop = PlainLoop(self, salt)
        self.issued: list[Ask] = []
        self.open: dict[int, Ask] = {}
        self.last_number = 0
        self.left: list[Any] = []
        self.mailboxes: dict[str, list[str]] = {}
        self.waiters: dict[str, list[asyncio.Future[Any]]] = {}
        self.conditions: list[tuple[Callable[[], bool], asyncio.Future[Any]]] = []
        self.end: Ask | None = None
        self.is_to_be_cancelled = False
        self.is_closed = False
        seed = info.id.int
        if info.first_event > 1:
            mixed = info.id.bytes + info.first_event.to_bytes(8, "big")
            seed = int.from_bytes(sha256(mixed).digest(), "big")
        self.randoms = Random(seed)
        self.uuids = Random(seed + 1)
        self._main: asyncio.Task[Any] | None = None

    # --- what happens to it

    def apply(self, event: Event) -> list[Asked]:
        """Let an event happen, and everything that follows from it."""
        self.loop.now = max(self.loop.now, event.at)
        match event.kind:
            case "started":
                self._start(json.loads(event.payload or "{}"))
            case "signal_received":
                self._deliver(event.name or "", event.payload or "null")
            case "cancel_requested":
                if not self.is_to_be_cancelled and self._main is not None:
                    self.is_to_be_cancelled = True
                    self._main.cancel()
            case _:
                ask = self.open.pop(event.command or 0, None)
                if ask is not None and ask.answer is not None:
                    ask.answer(event)
        self._drain()
        return self._number()

    def close(self) -> None:
        """Cancel what is left, in asyncio's own way."""
        self.is_closed = True
        for _ in range(1000):
            tasks = asyncio.all_tasks(self.loop)
            if not tasks:
                break
            for task in tasks:
                task.cancel()
            self.loop.run_forever()
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.loop.close()

    # --- what the program asks for

    def ask(
        self,
        kind: str,
        name: str | None,
        detail: Any,
        answer: Callable[[Event], object] | None = None,
    ) -> Ask:
        ask = Ask(kind, name, detail, answer)
        if self.end is None:
            self.issued.append(ask)
        return ask

    def ask_now(self, kind: str, name: str | None, detail: Any) -> int:
        """Ask for something that gets its number at once."""
        ask = self.ask(kind, name, detail)
        self._assign()
        return ask.number or 0

    def take_back(self, ask: Ask | None) -> None:
        if ask is None or self.end is not None:
            return
        if ask.number is not None and self.open.pop(ask.number, None) is not None:
            self.issued.append(Ask("cancel", None, ask.number, None))
        else:
            ask.is_dropped = True

    # --- inside

    def _start(self, payload: dict[str, Any]) -> None:
        self.last_number = payload.get("last_command", 0)
        for signal in payload.get("signals", ()):
            self._deliver(signal["name"], json.dumps(signal["payload"]))
        self._main = self.loop.create_task(self._run_main())

    async def _run_main(self) -> None:
        end: tuple[str, Any]
        try:
            end = ("complete", await run_program(self.program, PlainWorld(self)))
        except asyncio.CancelledError:
            end = ("cancelled", None) if self.is_to_be_cancelled else ("fail", "CancelledError")
        except BaseException as error:
            end = _end_of(error)
        if self.is_closed:
            return
        # What other tasks do from now on does not count.
        kind, detail = end
        ask = self.ask(kind, None, json.loads(json.dumps(detail)))
        self.end = ask
        self.loop.stop()

    def _drain(self) -> None:
        self.loop.run_forever()
        comes_true = True
        while comes_true and self.end is None:
            comes_true = False
            for look, future in list(self.conditions):
                if self.end is None and not future.done() and look():
                    comes_true = True
                    future.set_result(None)
                    self.loop.run_forever()

    def _assign(self) -> None:
        for ask in self.issued:
            unnumbered = ("cancel", "complete", "fail", "cancelled", "continue_as_new")
            if ask.number is None and not ask.is_dropped and ask.kind not in unnumbered:
                self.last_number += 1
                ask.number = self.last_number

    def _number(self) -> list[Asked]:
        self._assign()
        asked: list[Asked] = []
        for ask in self.issued:
            if not ask.is_dropped:
                asked.append((ask.kind, ask.number, ask.name, ask.detail))
                if ask.answer is not None and ask.number is not None:
                    self.open[ask.number] = ask
        self.issued.clear()
        return asked

    def _deliver(self, name: str, payload: str) -> None:
        waiters = self.waiters.setdefault(name, [])
        while waiters:
            waiter = waiters.pop(0)
            if not waiter.done():
                waiter.set_result(payload)
                return
        self.mailboxes.setdefault(name, []).append(payload)


def _end_of(error: BaseException) -> tuple[str, Any]:
    inner = error
    while isinstance(inner, BaseExceptionGroup) and len(inner.exceptions) == 1:
        inner = inner.exceptions[0]
    if isinstance(inner, ContinueAsNew):
        return "continue_as_new", json.loads(inner.arguments)
    return "fail", type(error).__name__

"""What a program meets that runs on plain asyncio, see `plain`."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from datetime import datetime
from random import Random
from typing import TYPE_CHECKING, Any, NoReturn
from uuid import UUID

from currant.errors import (
    Cancelled,
    ChildFailed,
    ContinueAsNew,
    ExecutionFailed,
    ExecutionNotFound,
    RemoteError,
    SideEffectFailed,
    TaskFailed,
)
from currant.workflow.history import Event, derive_id
from tests.workflow.performing import FUNCTION
from tests.workflow.programs import Program

if TYPE_CHECKING:
    from tests.properties.plain import PlainRun


class PlainWorld:
    """What a program meets on plain asyncio."""

    def __init__(self, run: "PlainRun") -> None:
        self._run = run

    @property
    def identity(self) -> UUID:
        return self._run.info.id

    @property
    def parent(self) -> UUID | None:
        return self._run.info.parent_id

    async def _answered(self, kind: str, name: str | None, detail: Any) -> Any:
        future: asyncio.Future[Event] = asyncio.Future(loop=self._run.loop)

        def answer(event: Event) -> None:
            if not future.done():
                future.set_result(event)

        if self._run.is_closed:
            raise asyncio.CancelledError
        ask = self._run.ask(kind, name, detail, answer)
        try:
            event = await future
        except asyncio.CancelledError:
            self._run.take_back(ask)
            raise
        if event.kind.endswith("_completed"):
            return json.loads(event.payload or "null")
        described = json.loads(event.payload or "null")
        error: type[RemoteError] = {"task": TaskFailed, "child": ChildFailed}.get(
            kind, Cancelled if described.get("status") == "cancelled" else ExecutionFailed
        )
        if described["type"] == "ExecutionNotFound":
            raise ExecutionNotFound(described["message"])
        raise error.from_json(described, function=name or "")

    def task(self, name: str, key: str) -> Coroutine[Any, Any, Any]:
        return self._answered("task", name, [key])

    def child(self, key: str, program: Program, abandon: bool) -> Coroutine[Any, Any, Any]:
        return self._answered("child", FUNCTION, [program])

    def attach(self, execution: UUID) -> Coroutine[Any, Any, Any]:
        return self._answered("attach", FUNCTION, str(execution))

    async def launch(self, key: str, program: Program) -> UUID:
        number = self._run.ask_now("queue", FUNCTION, [program])
        return derive_id(self._run.info.id, number, self._run.loop.now)

    async def queue(self, key: str) -> UUID:
        number = self._run.ask_now("queue", "f", [key])
        return derive_id(self._run.info.id, number, self._run.loop.now)

    async def request_cancel(self, execution: UUID) -> None:
        self._run.ask_now("request_cancel", None, str(execution))

    async def send(self, execution: UUID, name: str, payload: str) -> None:
        self._run.ask_now("signal", name, payload)

    async def signal(self, name: str, timeout: float | None) -> Any:
        unread = self._run.mailboxes.get(name)
        if unread:
            return json.loads(unread.pop(0))
        waiter: asyncio.Future[str] = asyncio.Future(loop=self._run.loop)
        waiters = self._run.waiters.setdefault(name, [])
        waiters.append(waiter)
        return json.loads(await self._limited(waiter, timeout))

    async def condition(self, look: Callable[[], bool], timeout: float | None) -> None:
        if look():
            return
        future: asyncio.Future[None] = asyncio.Future(loop=self._run.loop)
        timer = self._limit(future, timeout)
        self._run.conditions.append((look, future))
        try:
            await future
        finally:
            if timer is not None:
                timer.cancel()

    async def _limited(self, future: asyncio.Future[Any], timeout: float | None) -> Any:
        timer = self._limit(future, timeout)
        try:
            return await future
        finally:
            if timer is not None:
                timer.cancel()

    def _limit(self, future: asyncio.Future[Any], timeout: float | None) -> Any:
        def expire() -> None:
            if not future.done():
                future.set_exception(TimeoutError())

        return None if timeout is None else self._run.loop.call_later(max(timeout, 0.001), expire)

    def version(self, name: str) -> int:
        return 3

    def now(self) -> datetime:
        return self._run.loop.now

    def random(self) -> Random:
        return self._run.randoms

    def uuid4(self) -> UUID:
        return UUID(int=self._run.uuids.getrandbits(128), version=4)

    def effect(self, effect: Callable[[], str]) -> str:
        self._run.ask_now("side_effect", effect.__qualname__, None)
        try:
            return effect()
        except Exception as error:
            described = {"type": type(error).__name__, "message": str(error)}
            raise SideEffectFailed.from_json(described, function=effect.__qualname__) from None

    def continue_as_new(self, program: Program) -> NoReturn:
        raise ContinueAsNew(json.dumps([program]))

    async def wait_for(self, awaitable: Awaitable[Any], timeout: float) -> Any:
        if timeout > 0:
            async with asyncio.timeout(timeout):
                return await awaitable
        future = asyncio.ensure_future(awaitable)
        if not future.done():
            future.cancel()
            await asyncio.wait([future])
        try:
            return future.result()
        except asyncio.CancelledError as error:
            raise TimeoutError from error

    def as_completed(self, awaitables: Iterable[Any], timeout: float | None) -> Any:
        tasks = [asyncio.ensure_future(awaitable) for awaitable in awaitables]
        return asyncio.as_completed(tasks, timeout=timeout)

"""Carries out programs (see `programs`), in a workflow or wherever else there is a `World`."""

import asyncio
import functools
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextvars import ContextVar
from datetime import datetime
from random import Random
from typing import Any, NoReturn, Protocol
from uuid import UUID

from currant.errors import RemoteError
from currant.workflow import api
from tests.workflow.programs import Program

FUNCTION = "program"

_mark: ContextVar[int] = ContextVar("mark", default=0)
_WHEN = (asyncio.FIRST_COMPLETED, asyncio.FIRST_EXCEPTION, asyncio.ALL_COMPLETED)


class World(Protocol):
    """What a program can ask of its surroundings, besides what asyncio has."""

    @property
    def identity(self) -> UUID: ...
    @property
    def parent(self) -> UUID | None: ...
    def task(self, name: str, key: str) -> Awaitable[Any]: ...
    def child(self, key: str, program: Program, abandon: bool) -> Awaitable[Any]: ...
    def launch(self, key: str, program: Program) -> Awaitable[UUID]: ...
    def attach(self, execution: UUID) -> Awaitable[Any]: ...
    def request_cancel(self, execution: UUID) -> Awaitable[None]: ...
    def send(self, execution: UUID, name: str, payload: str) -> Awaitable[Any]: ...
    def signal(self, name: str, timeout: float | None) -> Awaitable[Any]: ...
    def queue(self, key: str) -> Awaitable[UUID]: ...
    def version(self, name: str) -> int: ...
    def now(self) -> datetime: ...
    def random(self) -> Random: ...
    def uuid4(self) -> UUID: ...
    def effect(self, effect: Callable[[], str]) -> str: ...
    def condition(self, look: Callable[[], bool], timeout: float | None) -> Awaitable[None]: ...
    def continue_as_new(self, program: Program) -> NoReturn: ...
    def wait_for(self, awaitable: Awaitable[Any], timeout: float) -> Awaitable[Any]: ...
    def as_completed(self, awaitables: Iterable[Any], timeout: float | None) -> Any: ...


class InWorkflow:
    """The world of a running workflow."""

    wait_for = staticmethod(asyncio.wait_for)
    version = staticmethod(lambda name: api.get_version(name, 1, 3))
    signal = staticmethod(api.wait_for_signal)
    now = staticmethod(api.now)
    random = staticmethod(api.random)
    uuid4 = staticmethod(api.uuid4)
    condition = staticmethod(lambda look, timeout: api.wait_condition(look, timeout))

    @property
    def identity(self) -> UUID:
        return api.current().run.id  # type: ignore[union-attr]

    @property
    def parent(self) -> UUID | None:
        return api.current().run.parent_id  # type: ignore[union-attr]

    def task(self, name: str, key: str) -> Any:
        return api.run_task(name, json.dumps([key]), {})

    def child(self, key: str, program: Program, abandon: bool) -> Any:
        options = {"on_parent_end": "abandon"} if abandon else {}
        return api.run_child(FUNCTION, json.dumps([program]), options)

    def launch(self, key: str, program: Program) -> Any:
        return api.queue_execution(FUNCTION, json.dumps([program]), {})

    def attach(self, execution: UUID) -> Any:
        return api.attach(execution, FUNCTION)

    def request_cancel(self, execution: UUID) -> Any:
        return api.request_cancel(execution, "unwanted")

    def send(self, execution: UUID, name: str, payload: str) -> Any:
        return api.send_signal(execution, name, json.dumps(payload))

    def queue(self, key: str) -> Any:
        return api.queue_execution("f", json.dumps([key]), {})

    def effect(self, effect: Callable[[], str]) -> str:
        instance = api.current()

        @functools.wraps(effect)
        def once() -> str:
            assert instance is not None
            assert not instance.is_replaying, "a replay takes the effect from the history"
            return effect()

        value: str = api.side_effect(once, json.dumps, json.loads)
        return value

    def continue_as_new(self, program: Program) -> NoReturn:
        api.continue_as_new(json.dumps([program]))

    def as_completed(self, awaitables: Iterable[Any], timeout: float | None) -> Any:
        return asyncio.as_completed(awaitables, timeout=timeout)


async def run_program(program: Program, world: World | None = None) -> list[Any]:
    """Run a program; gives what it saw, in the order in which it saw it."""
    performance = _Performance(world or InWorkflow())
    try:
        await performance.run(program, "")
    except Exception as error:
        performance.seen.append(named(error))
    return performance.seen


def named(value: Any) -> Any:
    """A result, or the name of an error."""
    if isinstance(value, RemoteError):
        return f"{type(value).__name__} {value.type}"
    if isinstance(value, BaseExceptionGroup):
        return [type(value).__name__, *(named(error) for error in value.exceptions)]
    return type(value).__name__ if isinstance(value, BaseException) else value


class _Performance:
    """One run of a program. There is a method for every verb.

    Each gets the path to its part, which is the same wherever and whenever it is run.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.seen: list[Any] = []
        self.background: list[tuple[str, asyncio.Task[Any]]] = []
        self.events = {name: asyncio.Event() for name in "ef"}
        self.queues = {name: asyncio.Queue[int](1) for name in "st"}
        self.locks = {name: asyncio.Lock() for name in "lk"}
        self.notices = {name: asyncio.Condition() for name in "mn"}
        self.semaphore = asyncio.Semaphore(2)
        self.barrier = asyncio.Barrier(2)

    async def run(self, program: Program, path: str) -> Any:
        verb, *rest = program
        await getattr(self, f"do_{verb}")(path, *rest)
        return len(self.seen)

    def all(self, several: list[Program], path: str) -> list[Any]:
        return [self.run(one, f"{path}.{index}") for index, one in enumerate(several)]

    def tasks(self, several: list[Program], path: str) -> list[asyncio.Task[Any]]:
        return [asyncio.create_task(run) for run in self.all(several, path)]

    # --- what it asks of the world

    async def do_task(self, path: str, name: str) -> None:
        self.seen.append(await self.world.task(name, path))

    async def do_signal(self, path: str, name: str, timeout: float | None) -> None:
        self.seen.append(await self.world.signal(name, timeout))

    async def do_queue(self, path: str) -> None:
        self.seen.append(str(await self.world.queue(path)))

    async def do_version(self, path: str, name: str) -> None:
        self.seen.append(self.world.version(name))

    async def do_random(self, path: str) -> None:
        self.seen.append(self.world.random().randrange(1000))

    async def do_uuid(self, path: str) -> None:
        self.seen.append(str(self.world.uuid4()))

    async def do_now(self, path: str) -> None:
        self.seen.append(self.world.now().isoformat())

    async def do_effect(self, path: str, fails: bool) -> None:
        def effect() -> str:
            if fails:
                raise ValueError(path)
            return f"effect {path}"

        self.seen.append(self.world.effect(effect))

    async def do_condition(self, path: str, length: int, timeout: float | None) -> None:
        await self.world.condition(lambda: len(self.seen) > length, timeout)
        self.seen.append(f"more than {length}")

    async def do_send(self, path: str, to: str, name: str) -> None:
        receiver = self.world.identity if to == "self" else self.world.parent
        if receiver is not None:
            await self.world.send(receiver, name, path)

    async def do_child(self, path: str, program: Program, abandon: bool) -> None:
        self.seen.append(await self.world.child(path, program, abandon))

    async def do_launch(self, path: str, program: Program, what: str) -> None:
        execution = await self.world.launch(path, program)
        if what == "signal":
            await self.world.send(execution, "x", path)
        elif what == "cancel":
            await self.world.request_cancel(execution)
        self.seen.append(await self.world.attach(execution))

    async def do_continue(self, path: str, program: Program) -> None:
        self.world.continue_as_new(program)

    # --- what happens at once

    async def do_sleep(self, path: str, seconds: float) -> None:
        await asyncio.sleep(seconds)
        self.seen.append(asyncio.get_running_loop().time())

    async def do_yield(self, path: str) -> None:
        await asyncio.sleep(0)

    async def do_raise(self, path: str) -> None:
        raise ValueError(len(self.seen))

    async def do_variable(self, path: str, value: int) -> None:
        self.seen.append(_mark.get())
        _mark.set(value)

    async def do_cancel_self(self, path: str, takes_it_back: bool) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        if takes_it_back:
            self.seen.append(task.uncancel())

    async def do_cancel(self, path: str, which: int) -> None:
        if which < len(self.background):
            self.background[which][1].cancel()

    async def do_join(self, path: str, which: int) -> None:
        # Tasks that wait for each other in a ring cannot be cancelled, by asyncio either.
        around = [own for own, (outer, _) in enumerate(self.background) if path.startswith(outer)]
        if which < min([len(self.background), *around]):
            self.seen.append(await self.background[which][1])

    # --- what the parts of a program share

    async def do_event(self, path: str, name: str, what: str) -> None:
        if what == "wait":
            self.seen.append(await self.events[name].wait())
        else:
            getattr(self.events[name], what)()

    async def do_notify(self, path: str, name: str, count: int) -> None:
        async with self.notices[name]:
            self.notices[name].notify(count)

    async def do_await_notice(self, path: str, name: str) -> None:
        async with self.notices[name]:
            self.seen.append(await self.notices[name].wait())

    async def do_barrier(self, path: str) -> None:
        self.seen.append(await self.barrier.wait())

    async def do_put(self, path: str, name: str) -> None:
        await self.queues[name].put(len(self.seen))

    async def do_get(self, path: str, name: str) -> None:
        self.seen.append(await self.queues[name].get())

    async def do_lock(self, path: str, name: str, inner: Program) -> None:
        async with self.locks[name]:
            await self.run(inner, f"{path}.0")

    async def do_semaphore(self, path: str, inner: Program) -> None:
        async with self.semaphore:
            await self.run(inner, f"{path}.0")

    # --- what runs other parts

    async def do_sequence(self, path: str, several: list[Program]) -> None:
        for index, one in enumerate(several):
            try:
                await self.run(one, f"{path}.{index}")
            except Exception as error:
                self.seen.append(named(error))

    async def do_gather(self, path: str, several: list[Program], whole: bool) -> None:
        results = await asyncio.gather(*self.all(several, path), return_exceptions=whole)
        self.seen.append([named(result) for result in results])

    async def do_group(self, path: str, several: list[Program]) -> None:
        async with asyncio.TaskGroup() as group:
            for run in self.all(several, path):
                group.create_task(run)

    async def do_first(self, path: str, several: list[Program]) -> None:
        await self.do_wait(path, several, 0, None, True)

    async def do_wait(
        self, path: str, several: list[Program], when: int, timeout: float | None, ends: bool
    ) -> None:
        done, pending = await asyncio.wait(
            self.tasks(several, path), timeout=timeout, return_when=_WHEN[when]
        )
        if ends:
            for task in pending:
                task.cancel()
            done |= pending
        results = await asyncio.gather(*done, return_exceptions=True)
        self.seen.append([named(result) for result in results])

    async def do_each(
        self, path: str, several: list[Program], timeout: float | None, style: int = 0
    ) -> None:
        runs = self.tasks(several, path) if style == 1 else self.all(several, path)
        if style == 2:
            async for task in self.world.as_completed(runs, timeout):
                self.seen.append([task.get_name(), named(task.exception())])
            return
        for result in self.world.as_completed(runs, timeout):
            self.seen.append(named(await result))

    async def do_queued(self, path: str, several: list[Program]) -> None:
        queue: asyncio.Queue[Any] = asyncio.Queue()
        limit = asyncio.Semaphore(2)

        async def worker() -> None:
            while not queue.empty():
                index, one = await queue.get()
                async with limit:
                    await self.run(one, f"{path}.{index}")

        for indexed in enumerate(several):
            queue.put_nowait(indexed)
        workers = {asyncio.create_task(worker()) for _ in range(3)}
        for task in workers:
            await asyncio.wait([task])
        for task in workers:
            self.seen.append(task.get_name())

    async def do_timeout(self, path: str, seconds: float, inner: Program) -> None:
        async with asyncio.timeout(seconds):
            await self.run(inner, f"{path}.0")

    async def do_reschedule(self, path: str, first: float, then: float, inner: Program) -> None:
        async with asyncio.timeout(first) as timeout:
            await self.run(inner, f"{path}.0")
            timeout.reschedule(asyncio.get_running_loop().time() + then)
            await self.run(inner, f"{path}.1")

    async def do_wait_for(self, path: str, seconds: float, inner: Program) -> None:
        await self.world.wait_for(self.run(inner, f"{path}.0"), seconds)

    async def do_shield(self, path: str, seconds: float, inner: Program) -> None:
        kept = asyncio.create_task(self.run(inner, f"{path}.0"))
        try:
            async with asyncio.timeout(seconds):
                await asyncio.shield(kept)
        except TimeoutError:
            self.seen.append("shielded")
            await kept

    async def do_guard(self, path: str, inner: Program, clean_up: Program, swallow: bool) -> None:
        try:
            await self.run(inner, f"{path}.0")
        except (Exception, asyncio.CancelledError) as error:
            self.seen.append(named(error))
            if not swallow and isinstance(error, asyncio.CancelledError):
                raise
        finally:
            await self.run(clean_up, f"{path}.1")

    async def do_background(self, path: str, inner: Program, turns: int) -> None:
        task = asyncio.create_task(self.run(inner, f"{path}.0"))
        self.background.append((f"{path}.", task))
        for _ in range(turns):
            await asyncio.sleep(0)
        if turns % 2:
            task.cancel()

    async def do_generator(self, path: str, several: list[Program], limit: int) -> None:
        async for index in self._generate(path, several):
            if index == limit:
                break

    async def _generate(self, path: str, several: list[Program]) -> AsyncIterator[int]:
        for index, one in enumerate(several):
            await self.run(one, f"{path}.{index}")
            yield index

    # --- what goes through a set

    async def do_strings(self, path: str, several: list[Program]) -> None:
        for text in {f"{index} {path}" for index in range(len(several))}:
            index = int(text.split()[0])
            await self.run(several[index], f"{path}.{index}")

    async def do_futures(self, path: str, several: list[Program]) -> None:
        tasks = self.tasks(several, path)
        both = asyncio.gather(*tasks[:2], return_exceptions=True)
        for future in {*tasks, both, asyncio.shield(tasks[-1])}:
            try:
                self.seen.append(named(await future))
            except Exception as error:
                self.seen.append(named(error))

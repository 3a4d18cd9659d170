"""What chaos is made of: work whose results are known beforehand, and a killer of workers."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from currant import Handle
from tests.apps import chaos as app
from tests.support.worker_database import Database, eventually
from tests.support.worker_process import WorkerProcess

# So many roots are open at a time.
_MOST_OPEN = 30
_BASKETS = 3


@dataclass
class Promise:
    """A root, and what has to be true of how it ends."""

    kind: str
    handle: Handle[Any]
    is_kept: Callable[[str, Any], bool]


class Load:
    """Starts workflows of every kind, sends them what they wait for, and remembers what is due."""

    def __init__(self, database: Database, chance: random.Random) -> None:
        self._database = database
        self._chance = chance
        self._numbers = itertools.count(1)
        self._senders: set[asyncio.Task[None]] = set()
        self.promises: list[Promise] = []
        self.baskets: set[tuple[str, int]] = set()

    async def run(self, seconds: float) -> None:
        """Go on for so long; whoever is begun then gets what he waits for."""
        over = time.monotonic() + seconds
        kinds: list[Callable[[str], Coroutine[Any, Any, None]]] = [
            *[self._mixed] * 3,
            *[self._collect] * 2,
            *(self._basket, self._basket, self._courier, self._family, self._renewed),
            *(self._cancelled, self._forced, self._cancelled_family, self._onlooker, self._pool),
        ]
        while time.monotonic() < over:
            await self._chance.choice(kinds)(f"n{next(self._numbers)}")
            await eventually(lambda: self._count_open() < _MOST_OPEN, "room", patience=60)

    async def finish(self) -> None:
        """Wait until everything was sent."""
        await asyncio.gather(*self._senders)

    def _count_open(self) -> int:
        open_: int = self._database.value(
            """
            select count(*) from currant.workflows as w
            join currant.executions as e on e.id = w.execution_id and e.parent_id is null
            """
        )
        return open_

    def _promise(
        self, handle: Handle[Any], is_kept: Callable[[str, Any], bool], kind: str = ""
    ) -> None:
        self.promises.append(Promise(kind or is_kept.__qualname__, handle, is_kept))

    def _completes(self, kind: str, handle: Handle[Any], expected: Any) -> None:
        self._promise(handle, lambda *found: found == ("completed", expected), kind)

    def _send(self, sending: Coroutine[Any, Any, None]) -> None:
        sender = asyncio.create_task(sending)
        self._senders.add(sender)
        sender.add_done_callback(lambda done: done.exception() or self._senders.discard(done))

    # --- The kinds

    async def _mixed(self, name: str) -> None:
        size = self._chance.randrange(1, 6)
        expected = [f"{name} first", f"{name} a", f"{name} b", [name, "c"]]
        expected += [f"{name} in a group {n}" for n in range(size)]
        expected += ["too late", f"ValueError: {name} is refused", list(range(size))]
        self._completes("mixed", await app.mixed.queue(name, size), expected)

    async def _collect(self, name: str) -> None:
        count = self._chance.randrange(1, 8)
        handle = await app.collect.queue(count)
        self._send(self._send_items(handle, count))
        self._completes("collect", handle, list(range(count)))

    async def _renewed(self, name: str) -> None:
        runs = self._chance.randrange(1, 5)
        handle = await app.renewed.queue(runs, [])
        self._send(self._send_items(handle, 3 * runs))
        self._completes("renewed", handle, list(range(3 * runs)))

    async def _send_items(self, handle: Handle[Any], count: int) -> None:
        for number in range(count):
            # As somebody does who does not know whether the first time was enough.
            for _ in range(self._chance.choice((1, 1, 2))):
                await handle.signal("item", number, key=f"item {number}")
            await asyncio.sleep(self._chance.random() / 10)

    async def _courier(self, name: str) -> None:
        count = self._chance.randrange(1, 6)
        receiver = await app.collect.queue(count)
        self._completes("courier", await app.courier.queue(receiver, count), count)
        self._completes("collect", receiver, list(range(count)))

    async def _basket(self, name: str) -> None:
        key = f"basket {self._chance.randrange(_BASKETS)}"
        number = int(name.removeprefix("n"))
        await app.basket.options(key=key).queue_and_signal("item", number, key)
        self.baskets.add((key, number))

    async def _family(self, name: str) -> None:
        depth = self._chance.randrange(1, 4)
        handle = await app.family.queue(name, depth)
        self._promise(handle, lambda *found: _is_family(found, name, depth), "family")

    async def _cancelled_family(self, name: str) -> None:
        handle = await app.family.queue(name, 2)
        self._send(self._cancel(handle))
        self._promise(
            handle,
            lambda *found: found[0] == "cancelled" or _is_family(found, name, 2),
            "cancelled family",
        )

    async def _cancelled(self, name: str) -> None:
        handle = await app.waiting.queue(name)
        self._send(self._cancel(handle))
        self._promise(handle, lambda status, _: self._is_tidy(handle, name, status), "cancelled")

    async def _forced(self, name: str) -> None:
        function = self._chance.choice((app.waiting, app.pool, app.family))
        arguments = {app.waiting: (name,), app.pool: (30,), app.family: (name, 2)}[function]
        handle = await function.queue(*arguments)
        self._send(self._cancel(handle, force=True))
        self._promise(handle, lambda status, _: status in ("cancelled", "completed"), "forced")

    async def _cancel(self, handle: Handle[Any], force: bool = False) -> None:
        await asyncio.sleep(self._chance.random())
        await handle.cancel("chaos", force=force)

    async def _onlooker(self, name: str) -> None:
        if self.promises:
            target = self._chance.choice(self.promises[-20:]).handle
            handle = await app.onlooker.queue(target)
            self._promise(handle, lambda *found: self._has_seen(target, found), "onlooker")

    async def _pool(self, name: str) -> None:
        size = self._chance.randrange(1, 10)
        self._completes("pool", await app.pool.queue(size), sum(range(size)))

    # --- What has to be true of them

    def _is_tidy(self, handle: Handle[Any], name: str, status: str) -> bool:
        # One that has not begun, or that its worker's code was too old for, has nobody to clean up.
        token, closed = self._database.rows(
            """
            select o.token, (select count(*) from effects where name = %s)
            from currant.outcomes as o where o.execution_id = %s
            """,
            f"{name} closed",
            handle,
        )[0]
        return status == "cancelled" and (token is None or closed == 1)

    def _has_seen(self, target: Handle[Any], found: tuple[str, Any]) -> bool:
        status, result, kind = self._database.rows(
            "select status, result, error ->> 'type' from currant.outcomes where execution_id = %s",
            target,
        )[0]
        seen = ["completed", result] if status == "completed" else [status, kind]
        return found == ("completed", seen)

    def history(self, handle: object) -> str:
        """The history of an execution, in short."""
        rows = self._database.rows(
            "select event, position, kind, number, name from currant.history(%s)", handle
        )
        return " ".join(
            ("" if row.position else f"| {row.event} ")
            + "".join(str(part) for part in (row.kind, row.number, row.name) if part is not None)
            for row in rows
        )

    def broken(self) -> list[Any]:
        """What was promised and is not so: the kind, the execution, how it ended."""
        ended = {
            str(row.execution_id): (row.status, row.result)
            for row in self._database.rows(
                "select execution_id, status, result from currant.outcomes"
            )
        }
        broken: list[Any] = [
            (one.kind, str(one.handle), ended.get(str(one.handle)), self.history(one.handle))
            for one in self.promises
            if str(one.handle) not in ended or not one.is_kept(*ended[str(one.handle)])
        ]
        carried = Counter(
            (row.key, item)
            for row in self._database.rows(
                """
                select e.key, o.result from currant.executions as e
                join currant.outcomes as o on o.execution_id = e.id
                where e.function = 'basket' and o.status = 'completed'
                """
            )
            for item in row.result
        )
        if carried != Counter(self.baskets):
            broken.append(
                ("baskets", carried - Counter(self.baskets), Counter(self.baskets) - carried)
            )
        return broken


def _is_family(found: tuple[str, Any], name: str, depth: int) -> bool:
    status, result = found
    if status != "completed":
        return False
    tokens = {item[1] for item in result if isinstance(item, list) and len(item) == 2}
    return len(tokens) == 1 and result == _members(name, depth, tokens.pop())


def _members(name: str, depth: int, token: str) -> list[Any]:
    if depth == 0:
        return [[name, token]]
    found = [item for n in range(2) for item in _members(f"{name}/{n}", depth - 1, token)]
    return [*found, ["failed", "ValueError", f"{name} is refused", "ValueError"], "too late"]


class Killer:
    """Keeps some workers running, and kills one after the other."""

    def __init__(
        self, database: Database, logs: Path, chance: random.Random, caches: tuple[str, ...]
    ) -> None:
        self._database = database
        self._logs = logs
        self._chance = chance
        self._caches = caches
        self._frozen: set[asyncio.Task[None]] = set()
        self._all: list[WorkerProcess] = []
        self.workers: list[WorkerProcess] = []
        self.deeds: Counter[str] = Counter()

    def start(self, code: int, is_awaited: bool = False) -> None:
        """Start another worker."""
        environment = {
            "CHAOS_CODE": str(code),
            "CURRANT_WORKER_WORKFLOW_CACHE": self._chance.choice(self._caches),
            "CURRANT_WORKER_MAX_CONCURRENT": "6",
        }
        log = self._logs / f"worker-{len(self._all)}.log"
        worker = WorkerProcess(
            self._database,
            log,
            "tests.apps.chaos",
            *("-q", "work"),
            environment=environment,
            is_awaited=is_awaited,
        )
        self._all.append(worker)
        self.workers.append(worker)

    async def run(self) -> None:
        """Go on until cancelled."""
        deeds = [self._kill] * 6 + [self._terminate, self._freeze, self._disconnect]
        while True:
            await asyncio.sleep(0.5 + self._chance.random())
            deed = self._chance.choice(deeds)
            self.deeds[deed.__name__.strip("_")] += 1
            deed(self._chance.choice(self.workers))

    def _replace(self, worker: WorkerProcess) -> None:
        self.workers.remove(worker)
        # Some code that knows every version is always there.
        self.start(self._chance.choice((1, 2)) if self._chance.random() < 0.5 else 2)

    def _kill(self, worker: WorkerProcess) -> None:
        worker.kill()
        self._replace(worker)

    def _terminate(self, worker: WorkerProcess) -> None:
        worker.terminate()
        self._replace(worker)

    def _freeze(self, worker: WorkerProcess) -> None:
        """Have it sleep through its heartbeats; it begins anew when it wakes."""
        worker.freeze()

        async def thaw() -> None:
            await asyncio.sleep(2)
            worker.thaw()

        thawing = asyncio.create_task(thaw())
        self._frozen.add(thawing)
        thawing.add_done_callback(self._frozen.discard)

    def _disconnect(self, worker: WorkerProcess) -> None:
        """End its connections."""
        self._database.rows(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where datname = current_database() and application_name = 'currant worker'"
        )

    def calm_down(self) -> None:
        """Kill all that are left, and start some that nobody kills."""
        for worker in self._all:
            worker.clean_up()
        self.workers.clear()
        for _ in range(2):
            self.start(2, is_awaited=True)

    def stop(self) -> None:
        """Have the last ones end in order."""
        for worker in self.workers:
            worker.terminate()
        for worker in self.workers:
            assert worker.wait() == 0, worker.log()

    def clean_up(self) -> None:
        """Leave no process behind."""
        for worker in self._all:
            worker.clean_up()

    def complaints(self) -> list[str]:
        """What the workers logged as errors of their own."""
        return [
            line
            for worker in self._all
            for line in worker.log().splitlines()
            if "Traceback" in line or " error " in line
        ]

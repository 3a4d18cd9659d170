"""What happens, in order: a server, a schema, two workers, work, a kill, a signal, the verdict."""

from __future__ import annotations

import asyncio
import json
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
from psycopg import conninfo

from currant import Client, Handle, migrations
from examples import shop
from examples.demo import processes, verdict
from examples.demo.display import Display
from examples.demo.mailbox import Mailbox
from examples.demo.observe import Observer, Snapshot
from examples.demo.processes import WorkerProcess

_DATABASE = "shop"
_QUEUES = ("-q", "emails", "-q", "orders", "--concurrency", "6")
# A dead worker is to be noticed while somebody is looking; in earnest these are 5 and 30.
_HEARTBEAT = {"CURRANT_WORKER_HEARTBEAT_INTERVAL": "0.5", "CURRANT_WORKER_HEARTBEAT_TIMEOUT": "2"}
_PATIENCE_SECONDS = 60
_LOOK_SECONDS = 0.08
_MOMENT = timedelta(seconds=0.3)
_PRICES = {"tea": 450, "pot": 2900, "cup": 800}
_ORDERS = 12
_EMAILS = 24
_ORDER_IN_SQL = "O-psql"


@dataclass
class Work:
    """What was enqueued."""

    orders: dict[str, list[shop.Line]]
    labels: dict[str, str]  # of executions, by id
    refund: Handle[str]
    ignored_refund: Handle[str]

    def expected(self) -> verdict.Expected:
        """What has to come out."""
        sold: Counter[str] = Counter()
        for lines in self.orders.values():
            for line in lines:
                sold[line.sku] += line.quantity
        payments = {o: sum(n.price * n.quantity for n in self.orders[o]) for o in self.orders}
        return verdict.Expected(
            results={self.refund: "approved by Ada", self.ignored_refund: "nobody decided"},
            payments={**payments, "refund of O-1": -payments["O-1"]},
            sold=dict(sold),
        )


class Story:
    """One run of the demonstration.

    Args:
        home: the directory of its server.
        keep: whether the server goes on afterwards.
    """

    def __init__(self, home: Path, *, keep: bool) -> None:
        self._home = home
        self._keep = keep
        self._display = Display()
        self._names: dict[UUID, str] = {}
        self._killed: set[UUID] = set()
        self._show: Callable[[Snapshot], None] = lambda _snapshot: None

    async def run(self) -> int:
        """Play it; 0 if everything was as it should be."""
        async with AsyncExitStack() as stack:
            url = await stack.enter_async_context(self._database())
            mailbox = await stack.enter_async_context(Mailbox())
            environment = {
                "CURRANT_DATABASE_URL": url, "SHOP_SMTP": mailbox.address, **_HEARTBEAT
            }  # fmt: skip
            connection = await psycopg.AsyncConnection.connect(url, autocommit=True)
            observer = Observer(await stack.enter_async_context(connection))
            pair = await stack.enter_async_context(
                processes.workers(
                    ["worker 1", "worker 2"], "--app", "examples.shop", *_QUEUES,
                    logs=self._home, environment=environment,
                )
            )  # fmt: skip
            await stack.enter_async_context(Client(url))
            await self._wait_for(pair, observer)
            work = await self._enqueue(url)
            with self._display.progressing(self._names, self._killed) as self._show:
                await self._kill(pair[0], observer)
                await self._approve(work, observer)
                snapshot = await self._until(observer, lambda now: not now.open)
            self._display.say(f"all {len(snapshot.executions)} executions have ended")
            return await self._conclude(snapshot, observer, mailbox, work)

    @asynccontextmanager
    async def _database(self) -> AsyncIterator[str]:
        """A new database with Currant's schema and the shop's, on a running server; its URL."""
        say = self._display.say
        say("starting the embedded Postgres")
        on_wait = lambda: say("another demonstration is running here; waiting for it")  # noqa: E731
        async with processes.postgres(self._home, keep=self._keep, on_wait=on_wait) as server:
            async with await psycopg.AsyncConnection.connect(server, autocommit=True) as connection:
                await connection.execute(f"drop database if exists {_DATABASE} with (force)")
                version = connection.info.server_version // 10000
            say(f"PostgreSQL {version} runs in {self._home}")
            url = conninfo.make_conninfo(server, dbname=_DATABASE)
            await self._migrate(url)
            async with await psycopg.AsyncConnection.connect(url) as connection:
                await connection.execute((processes.ROOT / "examples/shop.sql").read_bytes())
            yield url
            if self._keep:
                self._display.plain(
                    f'\nexport CURRANT_DATABASE_URL="{url}"\n.venv/bin/currant list'
                )

    async def _migrate(self, url: str) -> None:
        self._display.say("currant migrate")
        line = ""
        with self._display.deploying(len(migrations.schema_script().split("-- Deploy"))) as show:
            environment = {"CURRANT_DATABASE_URL": url}
            async for line in processes.lines_of(
                processes.CURRANT, "migrate", environment=environment
            ):
                show(line)
        self._display.say(f"{line}, by Sqitch")

    async def _wait_for(self, pair: list[WorkerProcess], observer: Observer) -> None:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            while not {worker.pid for worker in pair} <= (known := await observer.workers()).keys():
                for worker in pair:
                    if worker.process.returncode is not None:
                        raise RuntimeError(f"{worker.name} ended: {worker.log.read_text()[-500:]}")
                await asyncio.sleep(_LOOK_SECONDS)
        self._names.update({known[worker.pid]: worker.name for worker in pair})
        which = " and ".join(f"{worker.name} (process {worker.pid})" for worker in pair)
        self._display.say(f"currant worker, twice: {which}")

    async def _enqueue(self, url: str) -> Work:
        emails = [
            {
                "to": f"reader{n}@{'slow.example' if n % 4 == 0 else 'example.com'}",
                "subject": "News from the shop",
                "body": "There is new tea.",
            }
            for n in range(_EMAILS)
        ]
        handles = await shop.send_email.queue_many(emails)
        labels = {str(h): e["to"].partition("@")[0] for h, e in zip(handles, emails, strict=True)}
        orders = {f"O-{n}": _lines(n) for n in range(1, _ORDERS + 1)}
        for order, lines in orders.items():
            handle = await shop.process_order.queue(order, f"{order}@example.com", "tok", lines)
            labels[str(handle)] = order
        amount = sum(line.price * line.quantity for line in orders["O-1"])
        refund = await shop.approve_refund.queue("O-1", amount, patience=60)
        ignored = await shop.approve_refund.queue("O-2", 100, patience=2)
        self._display.say(
            f"enqueued from Python: {_EMAILS} e-mails, {_ORDERS} orders, 2 refunds to be approved"
        )
        orders[_ORDER_IN_SQL] = _lines(3)
        labels[await self._enqueue_in_sql(url, orders[_ORDER_IN_SQL])] = _ORDER_IN_SQL
        labels |= {str(refund): "signalled", str(ignored): "ignored"}
        return Work(orders, labels, refund, ignored)

    async def _enqueue_in_sql(self, url: str, lines: list[shop.Line]) -> str:
        arguments: dict[str, Any] = {
            "order_id": _ORDER_IN_SQL,
            "email": "sql@example.com",
            "card_token": "tok",
            "lines": [vars(line) for line in lines],
        }
        statement = f"select currant.enqueue('process_order', '{json.dumps(arguments)}')"
        words = ("--no-psqlrc", "--quiet", "--no-align", "--tuples-only", "--command", statement)
        printed = [
            line async for line in processes.lines_of(processes.psql(), *words, url, environment={})
        ]
        self._display.say(f"psql: {statement[:50]}...")
        return printed[-1]

    async def _until(self, observer: Observer, condition: Callable[[Snapshot], bool]) -> Snapshot:
        """The first snapshot for which the condition holds."""
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                while True:
                    self._show(snapshot := await observer.snapshot())
                    if condition(snapshot):
                        return snapshot
                    await asyncio.sleep(_LOOK_SECONDS)
        except TimeoutError:
            waiting = [f"{one.function} {one.id} is {one.status}" for one in snapshot.open]
            raise TimeoutError(f"no end in sight: {', '.join(waiting)}") from None

    async def _kill(self, victim: WorkerProcess, observer: Observer) -> None:
        """Kill a worker with its hands full: a card has been charged, and nobody told of it yet."""
        identity = next(key for key, name in self._names.items() if name == victim.name)

        def is_busy(snapshot: Snapshot) -> bool:
            held = snapshot.running_on(identity)
            return len(held) >= 3 and any(
                one.function == "charge_card" and (one.running_for or _MOMENT) > _MOMENT
                for one in held
            )

        while True:
            await self._until(observer, is_busy)
            # Stopped first: what it holds can then be looked at without it getting on meanwhile.
            victim.send(signal.SIGSTOP)
            held = (snapshot := await observer.snapshot()).running_on(identity)
            if is_busy(snapshot):
                break
            victim.send(signal.SIGCONT)
        victim.send(signal.SIGKILL)
        await victim.ended()
        self._killed.add(identity)
        functions = ", ".join(sorted(one.function for one in held))
        self._display.say(f"kill -9 {victim.pid}: {victim.name} held {functions}", "bold red")

    async def _approve(self, work: Work, observer: Observer) -> None:
        await self._until(observer, lambda now: now.of(work.refund).status == "suspended")
        await work.refund.signal("decision", shop.Decision(approved=True, by="Ada"))
        self._display.say("the refund was waiting for a signal: sent, approved by Ada")

    async def _conclude(
        self, snapshot: Snapshot, observer: Observer, mailbox: Mailbox, work: Work
    ) -> int:
        failed = await observer.failed_attempts()
        lost = [one for one in failed if one.error_type == "WorkerLost"]
        verdict.show_executions(self._display, snapshot, failed, self._names, work.labels)
        verdict.show_recovered(self._display, snapshot, lost, self._names, work.labels)
        checks = await verdict.check(snapshot, lost, observer, mailbox, work.expected())
        self._display.plain()
        for is_right, text in checks:
            self._display.plain(
                f"{'ok   ' if is_right else 'WRONG'}  {text}", "" if is_right else "red"
            )
        return 0 if all(is_right for is_right, _ in checks) else 1


def _lines(n: int) -> list[shop.Line]:
    skus = list(_PRICES)[: 2 + n % 2]
    return [
        shop.Line(sku, quantity=1 + (n + i) % 3, price=_PRICES[sku]) for i, sku in enumerate(skus)
    ]

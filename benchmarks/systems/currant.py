"""Currant itself, used as its users do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import Any

import psycopg

from benchmarks.stamps import stamp
from benchmarks.systems.base import QUEUE, Archive, System, step_number
from currant import Client, Handle, migrations, task, workflow
from currant.settings import Settings
from currant.worker import run_worker


@task(queue=QUEUE)
async def noop(number: int, payload: str | None = None) -> None:
    """A task."""
    stamp(number)


@workflow(queue=QUEUE)
async def sequence(number: int, steps: int) -> None:
    """Step after step."""
    for step in range(steps):
        await noop.run(step_number(number, step))


@workflow(queue=QUEUE)
async def fan_out(number: int, width: int) -> None:
    """All steps at once."""
    await asyncio.gather(*(noop.run(step_number(number, step)) for step in range(width)))


class Currant(System):
    """The tree that the benchmark is in."""

    name = "currant"
    title = "Currant"
    distribution = "currant"
    capabilities = frozenset(
        {"tasks", "workflows", "fan_out", "results", "delay", "queues", "payload", "archive"}
    )
    notes = "keeps arguments, outcome and result of every execution"

    pending_sql = """
        select exists (select from currant.ready) or exists (select from currant.leases)
    """
    remaining_sql = """
        select count(*) from currant.executions as e
        where e.parent_id is null
        and not exists (select from currant.outcomes as o where o.execution_id = e.id)
    """
    failed_sql = "select count(*) from currant.outcomes where status <> 'completed'"
    archive = Archive(
        "currant._uuid7()",
        {"currant.executions": ["id", "root_id"], "currant.outcomes": ["execution_id"]},
    )

    def prepare(self) -> None:
        """What `currant schema | psql` does; `currant migrate` takes seconds for the same."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(migrations.schema_script().encode())

    @asynccontextmanager
    async def client(self, connections: int) -> AsyncIterator[None]:
        """A client per connection: each has a pool of its own."""
        async with AsyncExitStack() as stack:
            self._clients = [
                await stack.enter_async_context(Client(self.url)) for _ in range(connections)
            ]
            self._noops = [noop.options(client=client) for client in self._clients]
            for client in self._clients:
                await client.perform_all([])
            yield

    async def enqueue(
        self, number: int, connection: int = 0, *, queue: str = QUEUE
    ) -> Handle[None]:
        """Enqueue one."""
        function = self._noops[connection]
        if queue != QUEUE:
            function = function.options(queue=queue)
        return await function.queue(number)

    async def enqueue_many(
        self,
        numbers: Sequence[int],
        *,
        queue: str = QUEUE,
        payload: str | None = None,
        delay_seconds: float | None = None,
    ) -> None:
        """Enqueue many in one transaction."""
        function = self._noops[0].options(queue=queue)
        if delay_seconds is not None:
            function = function.options(delay=timedelta(seconds=delay_seconds))
        more: dict[str, Any] = {} if payload is None else {"payload": payload}
        await function.queue_many([{"number": number, **more} for number in numbers])

    async def result(self, enqueued: Handle[None]) -> None:
        """Wait for the handle."""
        await enqueued.result()

    async def enqueue_workflows(self, numbers: Sequence[int], steps: int) -> None:
        """Enqueue workflows of sequential tasks."""
        function = sequence.options(client=self._clients[0])
        await function.queue_many([{"number": number, "steps": steps} for number in numbers])

    async def enqueue_fan_out(self, number: int, width: int) -> None:
        """Enqueue a workflow that gathers tasks."""
        await fan_out.options(client=self._clients[0]).queue(number, width)

    def work(self, *, concurrency: int, queues: Sequence[str], ready: Callable[[], None]) -> None:
        """What `currant worker` comes to."""
        settings = Settings(database_url=self.url, worker_max_concurrent=concurrency)
        ready()
        code = run_worker(settings, queues=queues)
        assert code == 0, f"the worker ended with {code}"

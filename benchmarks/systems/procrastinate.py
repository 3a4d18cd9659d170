"""procrastinate: a table of jobs, triggers that write their history, a query for each job."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from benchmarks.stamps import stamp
from benchmarks.systems.base import QUEUE, Archive, System

if TYPE_CHECKING:
    from procrastinate import App

_CHUNK = 10_000


class Procrastinate(System):
    """The asynchronous connector on psycopg, as its documentation recommends."""

    name = "procrastinate"
    title = "procrastinate"
    distribution = "procrastinate"
    variants = {  # noqa: RUF012
        # docs/howto/basics/connector.md: psycopg's pool as it comes, 4 connections.
        "default": {"pool": {}, "delete_jobs": "never", "uvloop": False},
        # docs/howto/production/connections.md names the size of the pool, delete_finished_jobs.md
        # the deletion, which keeps the table small; there is no advice for speed but more
        # concurrency (concurrency.md).
        "tuned": {"pool": {"min_size": 2, "max_size": 2}, "delete_jobs": "never", "uvloop": True},
    }
    capabilities = frozenset({"tasks", "delay", "queues", "payload", "archive"})
    notes = "keeps jobs and a log of what became of them; no results, and no waiting for an outcome"

    pending_sql = """
        select exists (select from procrastinate_jobs where status in ('todo', 'doing'))
    """
    remaining_sql = """
        select count(*) from procrastinate_jobs where status in ('todo', 'doing')
    """
    failed_sql = """
        select count(*) from procrastinate_jobs where status in ('failed', 'cancelled', 'aborted')
    """
    archive = Archive("nextval('procrastinate_jobs_id_seq')", {"procrastinate_jobs": ["id"]})

    def prepare(self) -> None:
        """What `procrastinate schema --apply` does."""
        app, _ = self._app({})
        with app.open():
            app.schema_manager.apply_schema()

    def run_client(self, main: Callable[[], Any]) -> Any:
        """On the variant's event loop."""
        return self._run(main)

    @asynccontextmanager
    async def client(self, connections: int) -> AsyncIterator[None]:
        """A pool of so many."""
        app, self._noop = self._app({"min_size": connections, "max_size": connections})
        async with app.open_async():
            yield

    async def enqueue(self, number: int, connection: int = 0, *, queue: str = QUEUE) -> None:
        """Defer one."""
        await self._noop.configure(queue=queue).defer_async(number=number)

    async def enqueue_many(
        self,
        numbers: Sequence[int],
        *,
        queue: str = QUEUE,
        payload: str | None = None,
        delay_seconds: float | None = None,
    ) -> None:
        """Defer a batch (docs/howto/basics/batch_defer.md)."""
        more = {} if payload is None else {"payload": payload}
        options: dict[str, Any] = {"queue": queue}
        if delay_seconds is not None:
            options["schedule_in"] = {"seconds": int(delay_seconds)}
        deferrer = self._noop.configure(**options)
        for at in range(0, len(numbers), _CHUNK):
            chunk = numbers[at : at + _CHUNK]
            await deferrer.batch_defer_async(*({"number": number, **more} for number in chunk))

    def work(self, *, concurrency: int, queues: Sequence[str], ready: Callable[[], None]) -> None:
        """What `procrastinate worker` comes to; it handles SIGTERM itself."""
        self._run(lambda: self._work(concurrency, queues, ready))

    def _run(self, main: Callable[[], Any]) -> Any:
        if self.settings["uvloop"]:
            import uvloop

            return uvloop.run(main())
        return asyncio.run(main())

    async def _work(
        self, concurrency: int, queues: Sequence[str], ready: Callable[[], None]
    ) -> None:
        app, _ = self._app(self.settings["pool"])
        async with app.open_async():
            ready()
            await app.run_worker_async(
                queues=queues, concurrency=concurrency, delete_jobs=self.settings["delete_jobs"]
            )

    def _app(self, pool: dict[str, int]) -> tuple[App, Any]:
        from procrastinate import App, PsycopgConnector

        app = App(connector=PsycopgConnector(conninfo=self.url, **pool))

        @app.task(name="noop", queue=QUEUE)
        async def noop(number: int, payload: str | None = None) -> None:
            stamp(number)

        return app, noop

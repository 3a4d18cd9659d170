"""oban-py, the open-source edition: a table of jobs, an update for each that ends."""

from __future__ import annotations

import asyncio
import functools
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from benchmarks.stamps import stamp
from benchmarks.systems.base import QUEUE, Archive, System

_CHUNK = 10_000
# From this concurrency on the tuned variant may run more at a time.
_MANY = 100


@functools.cache
def _noop() -> Any:
    """The worker class; jobs name it."""
    from oban import worker

    @worker(queue=QUEUE)
    class Noop:
        async def process(self, job: Any) -> None:
            stamp(job.args["number"])

    return Noop


class Oban(System):
    """Embedded in a process of ours, with everything on that is on by default."""

    name = "oban"
    title = "oban-py"
    distribution = "oban"
    variants = {  # noqa: RUF012
        # docs/production.md: a pool of 1 to 10. Time between fetches as it comes, 5 ms.
        "default": {"more_jobs": None, "uvloop": False},
        # The documentation gives no advice for speed. docs/defining_queues.md names the limit of a
        # queue, to which "there isn't a limit": fewer, larger fetches. No other time between
        # fetches was better.
        "tuned": {"more_jobs": 1_000, "uvloop": True},
    }
    capabilities = frozenset({"tasks", "delay", "queues", "payload", "archive"})
    notes = "keeps jobs for a day; results, and waiting for them, are in the commercial edition"

    pending_sql = """
        select exists (select from oban_jobs where state = 'executing')
            or exists (select from oban_jobs where state = 'available')
            or exists (select from oban_jobs where state in ('scheduled', 'retryable'))
    """
    remaining_sql = """
        select count(*) from oban_jobs
        where state in ('available', 'executing', 'scheduled', 'retryable')
    """
    failed_sql = """
        select count(*) from oban_jobs where state in ('retryable', 'cancelled', 'discarded')
    """
    archive = Archive("nextval(pg_get_serial_sequence('oban_jobs', 'id'))", {"oban_jobs": ["id"]})

    def prepare(self) -> None:
        """What `oban install` does."""
        asyncio.run(self._prepare())

    async def _prepare(self) -> None:
        from oban import Oban
        from oban.schema import install

        pool = await Oban.create_pool(self.url)
        await install(pool)
        await pool.close()

    def settle(self) -> None:
        """Without statistics: with those of a table in which nothing is executing Postgres finds
        the job that has ended by its state instead of its id, which halves the rate."""
        self._execute("checkpoint")

    def run_client(self, main: Callable[[], Any]) -> Any:
        """On the variant's event loop."""
        return self._run(main)

    @asynccontextmanager
    async def client(self, connections: int) -> AsyncIterator[None]:
        """A pool of so many."""
        from oban import Oban

        pool = await Oban.create_pool(self.url, min_size=connections, max_size=connections)
        await pool.wait()
        self._oban = Oban(pool=pool)
        try:
            yield
        finally:
            await pool.close()

    async def enqueue(self, number: int, connection: int = 0, *, queue: str = QUEUE) -> None:
        """Enqueue one."""
        await self._oban.enqueue(_noop().new({"number": number}, queue=queue))

    async def enqueue_many(
        self,
        numbers: Sequence[int],
        *,
        queue: str = QUEUE,
        payload: str | None = None,
        delay_seconds: float | None = None,
    ) -> None:
        """Enqueue many per call: one transaction, a statement each."""
        more = {} if payload is None else {"payload": payload}
        options: dict[str, Any] = {"queue": queue}
        if delay_seconds is not None:
            options["schedule_in"] = timedelta(seconds=delay_seconds)
        for at in range(0, len(numbers), _CHUNK):
            chunk = numbers[at : at + _CHUNK]
            await self._oban.enqueue_many(
                *(_noop().new({"number": number, **more}, **options) for number in chunk)
            )

    def work(self, *, concurrency: int, queues: Sequence[str], ready: Callable[[], None]) -> None:
        """What `oban start` comes to."""
        self._run(lambda: self._work(concurrency, queues, ready))

    def _run(self, main: Callable[[], Any]) -> Any:
        if self.settings["uvloop"]:
            import uvloop

            return uvloop.run(main())
        return asyncio.run(main())

    async def _work(
        self, concurrency: int, queues: Sequence[str], ready: Callable[[], None]
    ) -> None:
        from oban import Oban

        _noop()
        stopped = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
        pool = await Oban.create_pool(self.url)
        limit = concurrency
        if concurrency >= _MANY:
            limit = self.settings["more_jobs"] or concurrency
        ready()
        async with Oban(pool=pool, queues=dict.fromkeys(queues, limit)):
            await stopped.wait()
        await pool.close()

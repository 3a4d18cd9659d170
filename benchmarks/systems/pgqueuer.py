"""PgQueuer: tasks as rows that are deleted when done, behind one asyncpg connection or a pool."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from benchmarks.stamps import stamp
from benchmarks.systems.base import QUEUE, Archive, System

if TYPE_CHECKING:
    from pgqueuer import PgQueuer as Application
    from pgqueuer.models import Job

# From here on nothing is capped: there is no way to say "100 at a time" that does not slow it.
_UNCAPPED = 100
_CHUNK = 100_000

_TUNED = {"pool": 5, "autovacuum": True, "uvloop": True, "debounce_seconds": 0.001}


class PgQueuer(System):
    """One manager per process. It has no queues: one is an entrypoint, a function's name."""

    name = "pgqueuer"
    title = "PgQueuer"
    distribution = "pgqueuer"
    variants = {  # noqa: RUF012
        # docs/getting-started/quickstart.md: one connection; `PgQueuer.run`: batches of 10.
        "default": {
            "batch_size": 10,
            "pool": 0,
            "autovacuum": False,
            "uvloop": False,
            "debounce_seconds": 0.05,
        },
        # docs/guides/performance-tuning.md: "Increase batch_size when jobs are short-lived",
        # "use a connection pool driver", "Run pgq autovac after installation". 1,000 and 5 are the
        # best of 10 to 1,000 and 0 to 20. The loop is that of its own tools/benchmark.py.
        # docs/guides/completion-tracking.md names the debounce of waiting for outcomes.
        "tuned": {**_TUNED, "batch_size": 1_000},
        # Outcomes, too, are written in batches of this size, or every 100 ms.
        "tuned for latency": {**_TUNED, "batch_size": 1},
    }
    capabilities = frozenset({"tasks", "results", "delay", "queues", "payload", "archive"})
    notes = (
        "deletes a task when it is done and logs that it was; keeps no results: "
        "a caller can wait for the outcome only"
    )

    # Deleting a task and logging its outcome are one statement.
    pending_sql = "select exists (select from pgqueuer)"
    remaining_sql = "select count(*) from pgqueuer"
    failed_sql = """
        select count(*) from pgqueuer_log
        where status not in ('queued', 'picked', 'successful')
    """
    archive = Archive("nextval('pgqueuer_log_id_seq')", {"pgqueuer_log": ["id"]})

    def prepare(self) -> None:
        """`pgq install`, and for "tuned" `pgq autovac`."""
        asyncio.run(self._prepare())

    async def _prepare(self) -> None:
        import asyncpg
        from pgqueuer.queries import Queries

        connection = await asyncpg.connect(self.url)
        queries = Queries.from_asyncpg_connection(connection)
        await queries.install()
        if self.settings["autovacuum"]:
            await queries.optimize_autovacuum()
        await connection.close()

    def run_client(self, main: Callable[[], Any]) -> Any:
        """On the variant's event loop."""
        return self._run(main)

    @asynccontextmanager
    async def client(self, connections: int) -> AsyncIterator[None]:
        """A connection each, and one that listens for outcomes."""
        import asyncpg
        from pgqueuer.core.completion import CompletionWatcher
        from pgqueuer.queries import Queries

        async with AsyncExitStack() as stack:
            self._queries = []
            for _ in range(connections + 1):
                connection = await asyncpg.connect(self.url)
                stack.push_async_callback(connection.close)
                self._queries.append(Queries.from_asyncpg_connection(connection))
            listening = self._queries.pop()
            self._watcher = CompletionWatcher(
                listening.driver,
                queries=listening,
                debounce=timedelta(seconds=self.settings["debounce_seconds"]),
            )
            self._is_watching = False
            self._stack = stack
            yield

    async def enqueue(self, number: int, connection: int = 0, *, queue: str = QUEUE) -> Any:
        """Enqueue one; its id."""
        [job_id] = await self._queries[connection].enqueue(queue, str(number).encode())
        return job_id

    async def enqueue_many(
        self,
        numbers: Sequence[int],
        *,
        queue: str = QUEUE,
        payload: str | None = None,
        delay_seconds: float | None = None,
    ) -> None:
        """Enqueue lists, in one statement."""
        delay = None if delay_seconds is None else timedelta(seconds=delay_seconds)
        rest = b"" if payload is None else b" " + payload.encode()
        for at in range(0, len(numbers), _CHUNK):
            chunk = numbers[at : at + _CHUNK]
            await self._queries[0].enqueue(
                [queue] * len(chunk),
                [b"%d%b" % (number, rest) for number in chunk],
                [0] * len(chunk),
                [delay] * len(chunk),
            )

    async def result(self, enqueued: Any) -> None:
        """Wait for the outcome."""
        if not self._is_watching:
            await self._stack.enter_async_context(self._watcher)
            self._is_watching = True
        status = await self._watcher.wait_for(enqueued)
        assert status == "successful", status

    def work(self, *, concurrency: int, queues: Sequence[str], ready: Callable[[], None]) -> None:
        """What `pgq run` comes to."""
        self._run(lambda: self._work(concurrency, queues, ready))

    def _run(self, main: Callable[[], Any]) -> Any:
        if self.settings["uvloop"]:
            import uvloop

            return uvloop.run(main())
        return asyncio.run(main())

    async def _work(
        self, concurrency: int, queues: Sequence[str], ready: Callable[[], None]
    ) -> None:
        async with AsyncExitStack() as stack:
            application = await self._application(stack)
            for queue in queues:
                application.entrypoint(queue)(_noop)
            loop = asyncio.get_running_loop()
            loop.add_signal_handler(signal.SIGTERM, application.shutdown.set)
            ready()
            batch_size: int = self.settings["batch_size"]
            if concurrency >= _UNCAPPED:
                await application.run(batch_size=batch_size)
            else:
                # A cap has to be at least twice the size of a batch.
                cap = max(concurrency, 2)
                await application.run(
                    batch_size=min(batch_size, cap // 2), max_concurrent_tasks=cap
                )

    async def _application(self, stack: AsyncExitStack) -> Application:
        import asyncpg
        from pgqueuer import PgQueuer

        if size := self.settings["pool"]:
            pool = await stack.enter_async_context(
                asyncpg.create_pool(self.url, min_size=size, max_size=size)
            )
            return PgQueuer.from_asyncpg_pool(pool)
        connection = await asyncpg.connect(self.url)
        stack.push_async_callback(connection.close)
        return PgQueuer.from_asyncpg_connection(connection)


async def _noop(job: Job) -> None:
    assert job.payload is not None
    stamp(int(job.payload.partition(b" ")[0]))

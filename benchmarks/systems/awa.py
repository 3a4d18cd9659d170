"""awa: a core in Rust with bindings for Python, on append-only storage."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote, urlsplit

from benchmarks.stamps import stamp
from benchmarks.systems.base import QUEUE, System

if TYPE_CHECKING:
    from awa import AsyncClient

_CHUNK = 5_000
_CONNECTIONS = 10  # of a worker, as it comes
# From this concurrency on the tuned variant may have more workers.
_MANY = 100


@dataclass
class Noop:
    """The arguments of a job, and by its name its kind."""

    number: int
    payload: str | None = None


class Awa(System):
    """The asynchronous client of awa-pg, on the storage that a new installation gets."""

    name = "awa"
    title = "awa"
    distribution = "awa-pg"
    variants = {  # noqa: RUF012
        # docs/configuration.md, "Queue configuration"; `AsyncClient` for the connections.
        "default": {"more_workers": None, "environment": {}},
        # The same page, "Hot-Queue Claim Control": "For very high-throughput no-op queues, size
        # max_workers for durable completion latency … needs 1,024 in-flight worker permits". With
        # so many there would be four flushers of completions, which "multiply terminal-write
        # contention"; one was faster here. More claimers, partitions, shards, larger batches and
        # other intervals were not.
        "tuned": {"more_workers": 1_024, "environment": {"AWA_COMPLETION_SHARDS": "1"}},
    }
    capabilities = frozenset({"tasks", "delay", "queues", "payload"})
    notes = "keeps ended jobs until their segment is reused, in a minute or so; no results"

    # What was put into lanes or waits for its time, without what is known to have ended, of which
    # counts are kept when segments are emptied.
    remaining_sql = """
        select
            coalesce((select sum(awa.sequence_next_value(seq_name) - 1)
                from awa.queue_enqueue_heads), 0)
            + (select count(*) from awa.deferred_jobs)
            - coalesce((select sum(completed_count) from awa.receipt_completion_batches), 0)
            - coalesce((select sum(live_terminal_count) from awa.queue_terminal_live_counts), 0)
            - coalesce((select sum(terminal_delta) from awa.queue_terminal_count_deltas), 0)
            - coalesce((select sum(pruned_completed_count + pruned_failed_count)
                from awa.queue_terminal_rollups), 0)
    """
    pending_sql = f"select ({remaining_sql}) > 0"
    failed_sql = """
        select (select count(*) from awa.done_entries where state <> 'completed')
            + (select count(*) from awa.dlq_entries)
            + (select count(*) from awa.deferred_jobs where state = 'retryable')
    """

    def prepare(self) -> None:
        """`awa migrate`, and a worker: the first switches the fast storage on, if nothing has been
        enqueued before (docs/migrations.md, "Fresh Install")."""
        asyncio.run(self._prepare())

    async def _prepare(self) -> None:
        client = self._client(1)
        await client.migrate()
        await client.close()
        client = self._client(_CONNECTIONS)
        self._register(client)
        await client.start([(QUEUE, 1)])
        await client.shutdown()
        await client.close()

    @asynccontextmanager
    async def client(self, connections: int) -> AsyncIterator[None]:
        """A pool of so many."""
        self._sending = self._client(connections)
        await asyncio.gather(*(self._sending.health_check() for _ in range(connections)))
        try:
            yield
        finally:
            await self._sending.close()

    async def enqueue(self, number: int, connection: int = 0, *, queue: str = QUEUE) -> None:
        """Insert one."""
        await self._sending.insert(Noop(number), queue=queue)

    async def enqueue_many(
        self,
        numbers: Sequence[int],
        *,
        queue: str = QUEUE,
        payload: str | None = None,
        delay_seconds: float | None = None,
    ) -> None:
        """Copy chunks ("Producer path choice")."""
        run_at = None
        if delay_seconds is not None:
            run_at = datetime.now(UTC) + timedelta(seconds=delay_seconds)
        for at in range(0, len(numbers), _CHUNK):
            jobs = [Noop(number, payload) for number in numbers[at : at + _CHUNK]]
            await self._sending.enqueue_many_copy(jobs, queue=queue, run_at=run_at)

    def work(self, *, concurrency: int, queues: Sequence[str], ready: Callable[[], None]) -> None:
        """Start the runtime, as docs/getting-started-python.md does."""
        asyncio.run(self._work(concurrency, queues, ready))

    async def _work(
        self, concurrency: int, queues: Sequence[str], ready: Callable[[], None]
    ) -> None:
        stopped = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
        os.environ.update(self.settings["environment"])
        client = self._client(_CONNECTIONS)
        self._register(client, queues[0])
        workers = concurrency
        if concurrency >= _MANY:
            workers = self.settings["more_workers"] or concurrency
        await client.start([(queue, workers) for queue in queues])
        ready()
        await stopped.wait()
        await client.shutdown(timeout_ms=10_000)
        await client.close()

    def _client(self, connections: int) -> AsyncClient:
        from awa import AsyncClient

        return AsyncClient(_with_host(self.url), max_connections=connections)

    def _register(self, client: AsyncClient, queue: str = QUEUE) -> None:
        # It has to be one that is served; jobs of the others find it all the same.
        @client.task(Noop, queue=queue)
        async def noop(job: Any) -> None:
            stamp(job.args.number)


def _with_host(url: str) -> str:
    """The socket's directory as the host: nothing else is understood."""
    parts = urlsplit(url)
    options = parse_qs(parts.query)
    if parts.hostname or "host" not in options:
        return url
    [host], [port] = options["host"], options.get("port", ["5432"])
    user = f"{parts.username}@" if parts.username else ""
    return f"{parts.scheme}://{user}{quote(host, safe='')}:{port}{parts.path}"

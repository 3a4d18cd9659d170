"""Celery with Redis: the usual task queue of Python, which is durable only if told to be."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

from benchmarks import stamps
from benchmarks.systems.base import QUEUE, System

# Counted by the clients: a message that was acknowledged and has no result yet is nowhere in Redis.
_ENQUEUED = "benchmark:enqueued"
_CPUS = os.cpu_count() or 1


class Celery(System):
    """Tasks, with results in the same Redis.

    In a variant, `redis` is for redis.conf, `app` for Celery's configuration and `options` for the
    command line of the worker; `processes` bounds its pool.
    """

    name = "celery"
    title = "Celery with Redis"
    distribution = "celery"
    service = "redis"
    variants = {  # noqa: RUF012
        # A crash of Redis, as Debian ships it, loses what came after the last snapshot, which may
        # be an hour ago. A worker's crash loses what it has begun: that is acknowledged before.
        "default": {"redis": {}, "app": {}, "options": [], "processes": None},
        # docs.celeryq.dev/en/stable/userguide/optimizing, "Prefetch Limits": 64 or 128 for short
        # tasks. userguide/workers, "Concurrency": as many processes as CPUs (threads, solo and more
        # processes are slower here). userguide/configuration: `worker_disable_rate_limits`.
        # reference/cli: what a worker may go without.
        "tuned": {
            "redis": {},
            "app": {"worker_prefetch_multiplier": 128, "worker_disable_rate_limits": True},
            "options": ["--without-gossip", "--without-mingle", "--without-heartbeat"],
            "processes": _CPUS,
        },
        # redis.io, "Redis persistence": what was acknowledged is on the disk.
        # userguide/optimizing, "Reserve one task at a time": acknowledged when it has run.
        # Otherwise as tuned.
        "durable": {
            "redis": {"appendonly": "yes", "appendfsync": "always"},
            "app": {
                "worker_prefetch_multiplier": 128,
                "worker_disable_rate_limits": True,
                "task_acks_late": True,
                "task_reject_on_worker_lost": True,
            },
            "options": ["--without-gossip", "--without-mingle", "--without-heartbeat"],
            "processes": _CPUS,
        },
    }
    capabilities = frozenset({"tasks", "results", "queues", "payload"})
    notes = (
        "keeps outcome and result of every task for a day; a crash of Redis or of a worker loses"
        " tasks, except in the variant “durable”"
    )

    # There is no SQL: the methods ask Redis.
    pending_sql = ""
    remaining_sql = ""

    def __init__(self, url: str, variant: str) -> None:
        super().__init__(url, variant)
        self._redis: Any = None
        self._enqueued = 0

    def prepare(self) -> None:
        """Redis has no schema."""

    def is_pending(self) -> bool:
        """Whether anything has no result."""
        return self.remaining() > 0

    def remaining(self) -> int:
        """How many have no result."""
        redis = self._connect()
        enqueued = redis.get(_ENQUEUED)
        # All that there is beside the results is this number.
        return 0 if enqueued is None else int(enqueued) - (int(redis.dbsize()) - 1)

    def settle(self) -> None:
        """There is nothing to do."""

    def close(self) -> None:
        """Close the driver's connection."""
        if self._redis is not None:
            self._redis.close()
            self._redis = None
        super().close()

    @asynccontextmanager
    async def client(self, connections: int) -> AsyncIterator[None]:
        """A thread for each connection of the pool."""
        app = self._app(broker_pool_limit=connections)
        self._noop = _declare(app)
        with ThreadPoolExecutor(connections) as self._threads:
            connected = app.connection_for_write()
            connected.ensure_connection(max_retries=1)
            connected.release()
            try:
                yield
            finally:
                self._connect().incrby(_ENQUEUED, self._enqueued)
                self.close()
                app.close()

    async def enqueue(self, number: int, connection: int = 0, *, queue: str = QUEUE) -> Any:
        """Enqueue one; what to ask for its result."""
        self._enqueued += 1
        return await self._in_thread(lambda: self._noop.apply_async((number,), queue=queue))

    async def enqueue_many(
        self,
        numbers: Sequence[int],
        *,
        queue: str = QUEUE,
        payload: str | None = None,
        delay_seconds: float | None = None,
    ) -> None:
        """One after the other through one producer: there is nothing for many at once."""
        assert delay_seconds is None
        more = () if payload is None else (payload,)

        def enqueue() -> None:
            with self._noop.app.producer_pool.acquire(block=True) as producer:
                for number in numbers:
                    self._noop.apply_async((number, *more), queue=queue, producer=producer)

        self._enqueued += len(numbers)
        await self._in_thread(enqueue)

    async def result(self, enqueued: Any) -> None:
        """Hears of the result through Redis."""
        await self._in_thread(enqueued.get)

    def work(self, *, concurrency: int, queues: Sequence[str], ready: Callable[[], None]) -> None:
        """What `celery worker` does: a pool of processes."""
        from celery import signals

        def on_ready(**_: Any) -> None:
            ready()

        def on_process_shutdown(**_: Any) -> None:
            stamps.flush()

        signals.worker_ready.connect(on_ready)
        signals.worker_process_shutdown.connect(on_process_shutdown)
        app = self._app()
        _declare(app)
        processes = min(concurrency, self.settings["processes"] or concurrency)
        arguments = ["worker", "--concurrency", str(processes), "--queues", ",".join(queues)]
        arguments += ["--loglevel", "ERROR", "--hostname", f"{os.getpid()}@%h"]
        try:
            app.worker_main([*arguments, *self.settings["options"]])
        except SystemExit as end:
            if end.code:
                raise

    def _app(self, **more: Any) -> Any:
        import celery

        # redis-py calls it unix, Celery redis+socket.
        url = self.url.replace("unix://", "redis+socket://")
        # In a database of their own results can be counted.
        app = celery.Celery("benchmark", broker=url, backend=f"{url}?virtual_host=1")
        app.conf.update(broker_connection_retry_on_startup=True, **self.settings["app"], **more)
        return app

    def _connect(self) -> Any:
        if self._redis is None:
            import redis

            self._redis = redis.Redis.from_url(self.url, db=1)
        return self._redis

    async def _in_thread(self, function: Callable[[], Any]) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._threads, function)


def _declare(app: Any) -> Any:
    @app.task(name="noop")
    def noop(number: int, payload: str | None = None) -> None:
        stamps.stamp(number)

    return noop

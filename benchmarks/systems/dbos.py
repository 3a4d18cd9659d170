"""DBOS Transact: durable workflows as a library, with queues in Postgres."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from benchmarks.stamps import stamp
from benchmarks.systems.base import QUEUE, Archive, System, step_number

APPLICATION = "bench"


class Dbos(System):
    """Synchronous workflows in DBOS's threads, which its documentation shows first.

    A task is a workflow without steps.
    """

    name = "dbos"
    title = "DBOS Transact"
    distribution = "dbos"
    variants = {  # noqa: RUF012
        # docs.dbos.dev/python/reference/queues: queues and results are polled every second.
        "default": {"poll_seconds": 1.0, "result_poll_seconds": 1.0, "batches": 1, "threads": None},
        # The same page: `polling_interval_sec` of a queue, and `worker_concurrency`, which bounds
        # what a poll may take; reference/workflow_handles: `polling_interval_sec` of `get_result`;
        # reference/configuration: `max_executor_threads` then bounds what runs at once. More
        # threads than connections (`sys_db_pool_size`, 20) are slower here.
        "tuned": {"poll_seconds": 0.01, "result_poll_seconds": 0.01, "batches": 5, "threads": 20},
    }
    capabilities = frozenset(
        {"tasks", "workflows", "fan_out", "results", "delay", "queues", "payload", "archive"}
    )
    notes = (
        "keeps arguments, outcome and result of every workflow; finds work and results by polling"
    )

    pending_sql = """
        select exists (
            select from dbos.workflow_status where status in ('ENQUEUED', 'PENDING')
        )
    """
    remaining_sql = """
        select count(*) from dbos.workflow_status where status in ('ENQUEUED', 'PENDING', 'DELAYED')
    """
    failed_sql = """
        select count(*) from dbos.workflow_status
        where status in ('ERROR', 'CANCELLED', 'MAX_RECOVERY_ATTEMPTS_EXCEEDED')
    """
    archive = Archive("gen_random_uuid()::text", {"dbos.workflow_status": ["workflow_uuid"]})

    def prepare(self) -> None:
        """What `dbos migrate` does."""
        from dbos import DBOS

        DBOS.migrate(self.url)

    @asynccontextmanager
    async def client(self, connections: int) -> AsyncIterator[None]:
        """One client with as many connections, and a thread for each."""
        import sqlalchemy
        from dbos import DBOSClient

        async with AsyncExitStack() as stack:
            self._client = DBOSClient(
                system_database_url=self.url,
                system_database_pool_size=connections,
                application_name=APPLICATION,
            )
            stack.callback(self._client.destroy)
            self._threads = stack.enter_context(ThreadPoolExecutor(connections))
            url = sqlalchemy.make_url(self.url).set(drivername="postgresql+psycopg")
            self._engine = sqlalchemy.create_engine(url)
            stack.callback(self._engine.dispose)
            yield

    async def enqueue(self, number: int, connection: int = 0, *, queue: str = QUEUE) -> Any:
        """Enqueue one; its handle."""
        return await self._in_thread(self._client.enqueue, _options("noop", queue), number)

    async def enqueue_many(
        self,
        numbers: Sequence[int],
        *,
        queue: str = QUEUE,
        payload: str | None = None,
        delay_seconds: float | None = None,
    ) -> None:
        """One by one in one transaction: there is nothing for many at once."""
        options = _options("noop", queue)
        if delay_seconds is not None:
            options["delay_seconds"] = delay_seconds
        more = () if payload is None else (payload,)
        await self._in_thread(
            self._enqueue_in_transaction, options, [(number, *more) for number in numbers]
        )

    async def result(self, enqueued: Any) -> None:
        """Polls."""
        seconds = self.settings["result_poll_seconds"]
        await self._in_thread(lambda: enqueued.get_result(polling_interval_sec=seconds))

    async def enqueue_workflows(self, numbers: Sequence[int], steps: int) -> None:
        """As `enqueue_many`."""
        options = _options("sequence", QUEUE)
        await self._in_thread(
            self._enqueue_in_transaction, options, [(number, steps) for number in numbers]
        )

    async def enqueue_fan_out(self, number: int, width: int) -> None:
        """A workflow that gathers steps, which run in its process."""
        options = _options("fan_out", QUEUE)
        await self._in_thread(self._client.enqueue, options, number, width)

    def work(self, *, concurrency: int, queues: Sequence[str], ready: Callable[[], None]) -> None:
        """Queues are registered first: a process that runs looks for new ones once a second."""
        from dbos import DBOS, DBOSClient, DBOSConfig

        client = DBOSClient(system_database_url=self.url, application_name=APPLICATION)
        for queue in queues:
            client.register_queue(
                queue,
                worker_concurrency=concurrency * self.settings["batches"],
                polling_interval_sec=self.settings["poll_seconds"],
            )
        client.destroy()
        config: DBOSConfig = {
            "name": APPLICATION,
            "system_database_url": self.url,
            # Tells the processes apart where no commercial service does.
            "executor_id": f"{APPLICATION}-{os.getpid()}",
            "log_level": "WARNING",
        }
        if self.settings["threads"] is not None:
            config["max_executor_threads"] = min(concurrency, self.settings["threads"])
        DBOS(config=config)
        _declare()
        stop = threading.Event()
        signal.signal(signal.SIGTERM, lambda *_: stop.set())
        DBOS.listen_queues(list(queues))
        DBOS.launch()
        ready()
        stop.wait()
        DBOS.destroy(workflow_completion_timeout_sec=10)

    def _enqueue_in_transaction(self, options: Any, calls: Sequence[tuple[Any, ...]]) -> None:
        with self._engine.begin() as connection:
            for arguments in calls:
                self._client.enqueue_in_transaction(connection, options, *arguments)

    async def _in_thread(self, function: Callable[..., Any], *arguments: Any) -> Any:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, function, *arguments)


def _options(workflow: str, queue: str) -> Any:
    return {"workflow_name": workflow, "queue_name": queue}


def _declare() -> None:
    from dbos import DBOS

    @DBOS.workflow(name="noop")
    def noop(number: int, payload: str | None = None) -> None:
        stamp(number)

    @DBOS.step()
    def step(number: int) -> None:
        stamp(number)

    @DBOS.step()
    async def async_step(number: int) -> None:
        stamp(number)

    @DBOS.workflow(name="sequence")
    def sequence(number: int, steps: int) -> None:
        for one in range(steps):
            step(step_number(number, one))

    # docs.dbos.dev/python/tutorials/workflow-tutorial: gather, started in a fixed order.
    @DBOS.workflow(name="fan_out")
    async def fan_out(number: int, width: int) -> None:
        results = await asyncio.gather(
            *(async_step(step_number(number, one)) for one in range(width)),
            return_exceptions=True,
        )
        assert not any(results), results

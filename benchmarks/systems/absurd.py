"""absurd: durable tasks with steps, as SQL functions and a thin SDK."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from benchmarks.stamps import stamp
from benchmarks.systems.base import QUEUE, Archive, System, step_number

# A task may only wait for tasks of another queue than its own.
CHILDREN = f"{QUEUE}_children"
# What the SDK sends.
_OPTIONS = '{"max_attempts": 5}'


class Absurd(System):
    """The asynchronous SDK: one connection and one event loop per worker."""

    name = "absurd"
    title = "absurd"
    distribution = "absurd-sdk"
    variants = {  # noqa: RUF012
        # docs/sdks/python.md, "Starting a Worker": a poll every 0.25 s, batches of `concurrency`.
        "default": {"poll_seconds": 0.25, "batches": 1, "uvloop": False},
        # The documentation advises more processes and nothing else. These are the two parameters
        # that `start_worker` has, at the best values found, and a faster event loop.
        "tuned": {"poll_seconds": 0.01, "batches": 5, "uvloop": True},
    }
    capabilities = frozenset({"tasks", "workflows", "fan_out", "results", "payload", "archive"})
    notes = "keeps arguments, outcome and result of every task; finds work and results by polling"

    # A run's end and its task's are one transaction; only runs are indexed by state.
    pending_sql = f"""
        select exists (
            select from absurd.r_{QUEUE} where state in ('pending', 'running', 'sleeping')
        )
    """
    remaining_sql = f"""
        select count(*) from absurd.t_{QUEUE} where state in ('pending', 'running', 'sleeping')
    """
    failed_sql = f"""
        select (select count(*) from absurd.t_{QUEUE} where state in ('failed', 'cancelled'))
            + (select count(*) from absurd.t_{CHILDREN} where state in ('failed', 'cancelled'))
    """
    archive = Archive(
        "absurd.portable_uuidv7()",
        {
            f"absurd.r_{QUEUE}": ["task_id", "run_id"],
            f"absurd.t_{QUEUE}": ["task_id", "last_attempt_run"],
        },
    )

    def prepare(self) -> None:
        """`absurdctl`, another package, brings the schema along; it needs psql."""
        control = Path(sys.executable).parent / "absurdctl"
        for arguments in (["init"], ["create-queue", QUEUE], ["create-queue", CHILDREN]):
            subprocess.run(
                [control, *arguments, "--database", self.url],
                check=True,
                stdout=subprocess.DEVNULL,
            )

    def run_client(self, main: Callable[[], Any]) -> Any:
        """On the variant's event loop."""
        return self._run(main)

    @asynccontextmanager
    async def client(self, connections: int) -> AsyncIterator[None]:
        """A client has one connection."""
        from absurd_sdk import AsyncAbsurd

        async with AsyncExitStack() as stack:
            self._clients = [AsyncAbsurd(self.url, queue_name=QUEUE) for _ in range(connections)]
            for client in self._clients:
                stack.push_async_callback(client.close)
                await client.list_queues()
            yield

    async def enqueue(self, number: int, connection: int = 0, *, queue: str = QUEUE) -> str:
        """Spawn one; its id."""
        client = self._clients[connection]
        spawned = await client.spawn("noop", {"number": number}, queue=queue)
        return spawned["task_id"]

    async def enqueue_many(
        self,
        numbers: Sequence[int],
        *,
        queue: str = QUEUE,
        payload: str | None = None,
        delay_seconds: float | None = None,
    ) -> None:
        """In one statement: `spawn_task` in SQL is documented (docs/patterns/cron.md)."""
        assert delay_seconds is None
        import psycopg

        async with await psycopg.AsyncConnection.connect(self.url) as connection:
            await connection.execute(
                """
                select absurd.spawn_task(
                    %s, 'noop', jsonb_build_object('number', number, 'payload', %s::text), %s
                )
                from unnest(%s::bigint[]) as number
                """,
                (queue, payload, _OPTIONS, list(numbers)),
            )

    async def result(self, enqueued: str) -> None:
        """Polls, less often as time goes by."""
        snapshot = await self._clients[0].await_task_result(enqueued)
        assert snapshot.state == "completed", snapshot

    async def enqueue_workflows(self, numbers: Sequence[int], steps: int) -> None:
        """As `enqueue_many`."""
        import psycopg

        async with await psycopg.AsyncConnection.connect(self.url) as connection:
            await connection.execute(
                """
                select absurd.spawn_task(
                    %s, 'sequence', jsonb_build_object('number', number, 'steps', %s::int), %s
                )
                from unnest(%s::bigint[]) as number
                """,
                (QUEUE, steps, _OPTIONS, list(numbers)),
            )

    async def enqueue_fan_out(self, number: int, width: int) -> None:
        """A task that spawns tasks and waits for each."""
        parameters = {"number": number, "width": width}
        await self._clients[0].spawn("fan_out", parameters, queue=QUEUE)

    def work(self, *, concurrency: int, queues: Sequence[str], ready: Callable[[], None]) -> None:
        """A worker for the queue, and one for the tasks that tasks spawn."""
        assert list(queues) == [QUEUE]
        self._run(lambda: self._work(concurrency, ready))

    def _run(self, main: Callable[[], Any]) -> Any:
        if self.settings["uvloop"]:
            import uvloop

            return uvloop.run(main())
        return asyncio.run(main())

    async def _work(self, concurrency: int, ready: Callable[[], None]) -> None:
        workers = [self._parents(), self._children()]

        def stop() -> None:
            for worker in workers:
                worker.stop_worker()

        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop)
        ready()
        async with asyncio.TaskGroup() as group:
            for worker in workers:
                group.create_task(
                    worker.start_worker(
                        worker_id=str(os.getpid()),
                        concurrency=concurrency,
                        batch_size=concurrency * self.settings["batches"],
                        poll_interval=self.settings["poll_seconds"],
                    )
                )
        for worker in workers:
            await worker.close()

    def _parents(self) -> Any:
        from absurd_sdk import AsyncAbsurd, AsyncTaskContext

        app = AsyncAbsurd(self.url, queue_name=QUEUE)

        @app.register_task("noop")
        async def noop(parameters: Any, context: AsyncTaskContext) -> None:
            stamp(parameters["number"])

        @app.register_task("sequence")
        async def sequence(parameters: Any, context: AsyncTaskContext) -> None:
            for step in range(parameters["steps"]):

                async def run(number: int = step_number(parameters["number"], step)) -> None:
                    stamp(number)

                await context.step("step", run)

        @app.register_task("fan_out")
        async def fan_out(parameters: Any, context: AsyncTaskContext) -> None:
            children = []
            for step in range(parameters["width"]):
                number = step_number(parameters["number"], step)
                child = await app.spawn(
                    "child",
                    {"number": number},
                    queue=CHILDREN,
                    idempotency_key=f"{context.task_id}:{number}",
                )
                children.append(child["task_id"])
            for task_id in children:
                snapshot = await context.await_task_result(task_id, queue_name=CHILDREN)
                assert snapshot.state == "completed", snapshot

        return app

    def _children(self) -> Any:
        from absurd_sdk import AsyncAbsurd, AsyncTaskContext

        app = AsyncAbsurd(self.url, queue_name=CHILDREN)

        @app.register_task("child")
        async def child(parameters: Any, context: AsyncTaskContext) -> None:
            stamp(parameters["number"])

        return app

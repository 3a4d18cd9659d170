"""What a system has to offer to be measured; one module beside this one for each.

A system is used in processes of three kinds, each with an instance of its own: the driver (asks
what is left, by SQL), clients (`client` and what can be called inside it) and workers (`work`). A
module must be importable where its system is not installed: it imports it inside the methods.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib import metadata
from typing import Any, ClassVar

import psycopg

QUEUE = "bench"

Settings = Mapping[str, Any]


@dataclass(frozen=True)
class Archive:
    """Where a system keeps tasks that have ended, so that a benchmark can make many by copying one.

    Attributes:
        new_id: an SQL expression.
        tables: to the columns that hold a task's id, or one derived from it; the first of them is
            what the row is found by.
    """

    new_id: str
    tables: Mapping[str, Sequence[str]]


class System(ABC):
    """One system in one variant on one database.

    Every function that it runs takes a number and calls `stamps.stamp(number)`, nothing else.
    Steps of workflow number n stamp `step_number(n, step)`; the workflow itself stamps nothing.

    Attributes:
        name: as on the command line; the name of the module.
        title: for people.
        distribution: what it is called on PyPI.
        service: what its url names: "postgres", or "redis".
        variants: settings of "default" (as it comes out of the box, the concurrency set) and, if
            its documentation advises anything for speed, "tuned"; the source in a comment.
        capabilities: of "tasks", "workflows", "fan_out", "results", "delay", "queues", "payload"
            and "archive"; a workload is run with those that have all it needs.
        notes: what a reader of the figures has to know, such as that no results are kept.
        pending_sql: whether anything has not durably ended; cheap, asked every 10 ms or so.
        remaining_sql: how many tasks and workflows that were enqueued have not durably ended.
        failed_sql: how many ended otherwise than well; None where the system keeps no record.
        archive: of what has ended (capability "archive").
    """

    name: ClassVar[str]
    title: ClassVar[str]
    distribution: ClassVar[str]
    service: ClassVar[str] = "postgres"
    variants: ClassVar[Mapping[str, Settings]] = {"default": {}}
    capabilities: ClassVar[frozenset[str]]
    notes: ClassVar[str] = ""

    pending_sql: ClassVar[str]
    remaining_sql: ClassVar[str]
    failed_sql: ClassVar[str | None] = None
    archive: ClassVar[Archive | None] = None

    def __init__(self, url: str, variant: str) -> None:
        self.url = url
        self.variant = variant
        self.settings = self.variants[variant]
        self._connection: psycopg.Connection[Any] | None = None

    @classmethod
    def version(cls) -> str:
        """Of the installed package."""
        return metadata.version(cls.distribution)

    # --- In a process of its own, once

    @abstractmethod
    def prepare(self) -> None:
        """Put the schema into the empty database, as the system's documentation says."""

    # --- In the driver

    def is_pending(self) -> bool:
        """Whether anything has not durably ended."""
        return bool(self._value(self.pending_sql))

    def remaining(self) -> int:
        """How many have not durably ended."""
        return int(self._value(self.remaining_sql))

    def failed(self) -> int:
        """How many ended otherwise than well, as far as the system tells."""
        return 0 if self.failed_sql is None else int(self._value(self.failed_sql))

    def settle(self) -> None:
        """Between enqueueing and working: what autovacuum would have done in a minute or so."""
        self._execute("analyze")
        self._execute("checkpoint")

    def close(self) -> None:
        """Close the driver's connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _value(self, statement: str) -> Any:
        row = self._execute(statement).fetchone()
        assert row is not None
        return row[0]

    def _execute(self, statement: str) -> psycopg.Cursor[Any]:
        if self._connection is None:
            self._connection = psycopg.connect(
                self.url, autocommit=True, application_name="benchmark driver"
            )
        return self._connection.execute(statement.encode())

    # --- In a client

    def run_client(self, main: Callable[[], Any]) -> Any:
        """Run the client's coroutine function; a variant may bring another event loop."""
        return asyncio.run(main())

    @asynccontextmanager
    @abstractmethod
    def client(self, connections: int) -> AsyncIterator[None]:
        """Open what a client needs, for as many connections, before anything is measured."""

    @abstractmethod
    async def enqueue(self, number: int, connection: int = 0, *, queue: str = QUEUE) -> Any:
        """Enqueue one task in a commit of its own, through the given connection of the client's.

        The result is what `result` wants to know.
        """

    @abstractmethod
    async def enqueue_many(
        self,
        numbers: Sequence[int],
        *,
        queue: str = QUEUE,
        payload: str | None = None,
        delay_seconds: float | None = None,
    ) -> None:
        """Enqueue many tasks by the fastest documented way; returns when they are committed.

        Args:
            payload: a second argument of the function, which ignores it.
            delay_seconds: not to be run before.
        """

    async def result(self, enqueued: Any) -> None:
        """Wait by the system's own means until the outcome is known (capability "results")."""
        raise NotImplementedError

    async def enqueue_workflows(self, numbers: Sequence[int], steps: int) -> None:
        """Enqueue workflows of so many steps one after the other (capability "workflows")."""
        raise NotImplementedError

    async def enqueue_fan_out(self, number: int, width: int) -> None:
        """Enqueue one workflow that begins so many steps at once and ends when all have.

        Where steps cannot run side by side, child tasks or child workflows (capability "fan_out").
        """
        raise NotImplementedError

    # --- In a worker

    @abstractmethod
    def work(self, *, concurrency: int, queues: Sequence[str], ready: Callable[[], None]) -> None:
        """Work in this process until SIGTERM; then finish what runs, and return.

        Args:
            concurrency: of tasks, and of workflows.
            ready: to be called shortly before it begins, or once it has if the system can tell.
        """


STEPS_PER_WORKFLOW = 1_000_000


def step_number(workflow: int, step: int) -> int:
    """What a step stamps."""
    return workflow * STEPS_PER_WORKFLOW + step

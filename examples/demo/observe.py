"""What the database says about the executions and workers, read through Currant's views."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import psycopg

ENDS = frozenset({"completed", "failed", "cancelled"})

_EXECUTIONS = """
    select
        id, kind, function, status, attempt, parent_id, worker_id, coalesce(error_message, ''),
        finished_at - created_at,
        case when status = 'running' then clock_timestamp() - started_at end
    from currant.execution_status
    order by created_at, id
"""
# One row for each attempt that failed or was lost with its worker.
_LOST_ATTEMPTS = """
    select s.id, (a.value ->> 'worker')::uuid, a.value -> 'error' ->> 'type'
    from currant.execution_status as s
    cross join currant.status(s.id) as e
    cross join jsonb_array_elements(e.attempts) as a
"""


@dataclass(frozen=True)
class Execution:
    """A task or workflow at one moment."""

    id: UUID
    kind: str
    function: str
    status: str
    attempt: int
    parent_id: UUID | None
    worker_id: UUID | None
    error: str
    duration: timedelta | None  # from being enqueued to the end
    running_for: timedelta | None

    @property
    def is_step(self) -> bool:
        """Whether a workflow asked for it."""
        return self.parent_id is not None

    @property
    def has_ended(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.status in ENDS


@dataclass(frozen=True)
class FailedAttempt:
    """An attempt that came to nothing."""

    execution_id: UUID
    worker_id: UUID
    error_type: str


@dataclass(frozen=True)
class Snapshot:
    """Everything at one moment."""

    executions: tuple[Execution, ...]

    def of(self, execution: UUID | str) -> Execution:
        """The one with this id."""
        return next(one for one in self.executions if str(one.id) == str(execution))

    @property
    def asked_for(self) -> list[Execution]:
        """All that was enqueued from outside, as opposed to steps of workflows."""
        return [one for one in self.executions if not one.is_step]

    @property
    def steps(self) -> list[Execution]:
        """What workflows asked for."""
        return [one for one in self.executions if one.is_step]

    @property
    def open(self) -> list[Execution]:
        """All that has not ended."""
        return [one for one in self.executions if not one.has_ended]

    def running_on(self, worker: UUID) -> list[Execution]:
        """What a worker holds."""
        return [o for o in self.executions if o.status == "running" and o.worker_id == worker]

    def running(self) -> Counter[UUID | None]:
        """How much each worker holds."""
        return Counter(one.worker_id for one in self.executions if one.status == "running")


class Observer:
    """Reads over one connection."""

    def __init__(self, connection: psycopg.AsyncConnection[Any]) -> None:
        self._connection = connection

    async def snapshot(self) -> Snapshot:
        """The executions as they are now."""
        cursor = await self._connection.execute(_EXECUTIONS)
        return Snapshot(tuple(Execution(*row) for row in await cursor.fetchall()))

    async def failed_attempts(self) -> list[FailedAttempt]:
        """Every attempt that failed or was lost."""
        cursor = await self._connection.execute(_LOST_ATTEMPTS)
        return [FailedAttempt(*row) for row in await cursor.fetchall()]

    async def workers(self) -> dict[int, UUID]:
        """The ids of the workers that have registered, by process id."""
        cursor = await self._connection.execute(
            "select pid, worker_id from currant.worker_heartbeats"
        )
        return dict(await cursor.fetchall())

    async def rows(self, query: str) -> list[Any]:
        """The rows of any other query."""
        return await (await self._connection.execute(query.encode())).fetchall()

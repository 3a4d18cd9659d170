"""What tests of workflows run, what they look at in the database, how they make time pass."""

from __future__ import annotations

import asyncio

from currant import task
from tests.support.worker_database import Database


class Endless:
    """A task that runs until it is stopped, and tells of both."""

    def __init__(self) -> None:
        self._begun, self._stopped = asyncio.Event(), asyncio.Event()

        @task(name="endless", queue="flows")
        async def endless() -> None:
            self._begun.set()
            try:
                await asyncio.Event().wait()
            finally:
                self._stopped.set()

        self.run = endless.run

    async def begun(self) -> None:
        """Until it runs."""
        await asyncio.wait_for(self._begun.wait(), 10)

    async def stopped(self) -> None:
        """Until it is stopped."""
        await asyncio.wait_for(self._stopped.wait(), 10)


def events(database: Database, execution: str) -> list[str]:
    """The kinds of the events in a workflow's history, of all its runs."""
    rows = database.rows("select kind, position from currant.history(%s)", execution)
    return [row.kind for row in rows if row.position == 0]


def commands(database: Database, execution: str) -> list[str]:
    """The kinds of the commands in a workflow's history, of all its runs."""
    rows = database.rows("select kind, position from currant.history(%s)", execution)
    return [row.kind for row in rows if row.position > 0]


def make_due(database: Database) -> None:
    """Have timers fire, and blocked workflows be tried again."""
    database.rows("update currant.delayed set due_at = now() where kind in ('timer', 'blocked')")


async def waits_for(database: Database, what: str, count: int = 1) -> None:
    """Until so many executions wait for something of this description."""
    await database.eventually(
        "select count(*) >= %s from currant.execution_status where waits_for like %s",
        count,
        f"%{what}%",
    )

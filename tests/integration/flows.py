"""What tests of workflows look at in the database, and how they make time pass."""

from __future__ import annotations

from tests.support.worker_database import Database


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

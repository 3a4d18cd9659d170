"""A look at the database from outside, and waiting until it shows what a test waits for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import psycopg
from psycopg.rows import namedtuple_row

T = TypeVar("T")

PATIENCE = 30.0
_PAUSE = 0.01


class Database:
    """An autocommit connection of the test's own."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.connection = psycopg.connect(
            url, autocommit=True, row_factory=namedtuple_row, application_name="test"
        )

    def rows(self, statement: str, *arguments: object) -> list[Any]:
        """Run a statement; its rows."""
        cursor = self.connection.execute(statement.encode(), arguments or None)
        return cursor.fetchall() if cursor.description else []

    def value(self, statement: str, *arguments: object) -> Any:
        """Run a statement; the first column of its first row, or None."""
        found = self.rows(statement, *arguments)
        return found[0][0] if found else None

    def until(self, statement: str, *arguments: object, patience: float = PATIENCE) -> Any:
        """Ask until the answer is yes; it comes back."""
        return until(lambda: self.value(statement, *arguments), statement, patience)

    async def eventually(
        self, statement: str, *arguments: object, patience: float = PATIENCE
    ) -> Any:
        """`until`, while the event loop goes on."""
        return await eventually(lambda: self.value(statement, *arguments), statement, patience)

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()


def until(ask: Callable[[], T], what: object = None, patience: float = PATIENCE) -> T:
    """Ask until the answer is yes; it comes back."""
    deadline = time.monotonic() + patience
    while not (answer := ask()):
        assert time.monotonic() < deadline, f"waited in vain for {what or ask}"
        time.sleep(_PAUSE)
    return answer


async def eventually(
    ask: Callable[[], T | Awaitable[T]], what: object = None, patience: float = PATIENCE
) -> T:
    """`until`, while the event loop goes on."""
    deadline = time.monotonic() + patience
    while True:
        answer = ask()
        if isinstance(answer, Awaitable):
            answer = await answer
        if answer:
            return answer
        assert time.monotonic() < deadline, f"waited in vain for {what or ask}"
        await asyncio.sleep(_PAUSE)

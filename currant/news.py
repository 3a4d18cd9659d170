"""What a worker is to be told of the database's answers, and when.

Told at once it would go through all of it before the next exchange goes out; told in a moment it
does so while the database is at work.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

from currant import models
from currant.models import Report


class Reader(Protocol):
    """Whom it is for."""

    def start(self, claimed: Sequence[models.Claimed]) -> None:
        """Run these."""

    def settled(self, report: Report, word: models.Word) -> None:
        """The database has answered a report for good."""


class News:
    """What has not been told yet.

    Args:
        reader: is told in the event loop.
        on_fault: is called if the reader raised what nobody else would see.

    Attributes:
        claimed: what is yet to be started.
        fault: what the reader raised.
    """

    def __init__(self, reader: Reader, on_fault: Callable[[], object]) -> None:
        self._reader = reader
        self._on_fault = on_fault
        self._answered: list[tuple[Report, models.Word]] = []
        self._is_due = False
        self.claimed: list[models.Claimed] = []
        self.fault: Exception | None = None

    def add_answer(self, report: Report, word: models.Word) -> None:
        """A report has been answered for good."""
        self._answered.append((report, word))

    def add_claimed(self, claimed: Sequence[models.Claimed]) -> None:
        """These are to be run."""
        self.claimed += claimed

    def tell_soon(self) -> None:
        """Tell it once whoever runs now has come to his next await."""
        if not self._is_due:
            self._is_due = True
            asyncio.get_running_loop().call_soon(self._tell_now)

    def _tell_now(self) -> None:
        try:
            self.tell()
        except Exception as error:
            # Not the event loop's to log.
            self.fault = error
            self._on_fault()

    def tell(self) -> None:
        """Tell all of it: first how reports were answered, then what is to be started."""
        self._is_due = False
        answered, self._answered = self._answered, []
        for report, word in answered:
            self._reader.settled(report, word)
        if self.claimed:
            self._reader.start(self.claimed)
            # Not before: what starts them may report, and ask for slots.
            self.claimed = []

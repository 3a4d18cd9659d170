"""Drives virtual time: lets everything run that can, then moves the clock to what is due next."""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Final, TypeVar
from uuid import UUID

import psycopg

from currant import database, errors, models
from currant.database import virtual
from currant.testing.background import Background
from currant.testing.errors import KitError, Stalled, Stuck, UnfitDatabase, hidden
from currant.testing.replacements import Functions

T = TypeVar("T")

__tracebackhide__ = hidden

# Seconds between two looks while something runs, unless something is heard of before.
_LOOK: Final = 0.02
# Somebody who waited for an execution hears of its end within so many seconds.
_HEARING: Final = 0.3
_MOST_SHOWN: Final = 10
# Why a workflow is blocked, as its reason begins.
_FAULTS: Final = {
    kind.__name__: kind
    for kind in (errors.NonDeterminism, errors.UnsupportedVersion, errors.WorkflowDeadlock)
}


class Driver:
    """Moves one database's clock, and looks what goes on in it.

    Args:
        connection: for it alone.
        worker: runs the work.
        functions: what it runs.
        patience: for so many real seconds something may run without anything happening.

    Attributes:
        now: where the clock stands.
        abandoned: set when nobody waits any more for what is being driven.
        told: workflows that the test has been told are blocked.
    """

    def __init__(
        self,
        connection: psycopg.Connection[Any],
        worker: Background,
        functions: Functions,
        patience: float,
    ) -> None:
        self._connection = connection
        self._worker = worker
        self._functions = functions
        self._patience = patience
        self.now = datetime.now(UTC)
        self.abandoned = threading.Event()
        self.told: set[UUID] = set()

    # --- the clock

    def stop_clock(self, start: datetime | None) -> None:
        """Put the clock that stands still into the database.

        Raises:
            UnfitDatabase: it is not one for tests, or may not be changed, or another has its clock.
        """
        name = self._connection.info.dbname
        self._run(virtual.prepare())
        if not self._run(virtual.lock()):
            raise UnfitDatabase(
                f"another environment has the clock of the database {name}",
                hint="open one at a time, or give each a database of its own",
            )
        if not self._run(virtual.is_fit()):
            raise UnfitDatabase(
                f"the database {name} is in use, and its clock would be stopped",
                hint="give a new one, or one with test in its name",
            )
        try:
            if self._run(virtual.is_installed()):
                # Of a process that did not get to remove it.
                self._run(virtual.remove())
            self._run_all(virtual.install(start))
        except psycopg.errors.InsufficientPrivilege as error:
            user = self._connection.info.user
            raise UnfitDatabase(
                f"{user!r} may not replace the clock of the database {name}",
                detail=str(error).splitlines()[0],
                hint="tests need the role that deployed the schema",
            ) from error
        self._look()

    def release_clock(self) -> None:
        """Have the database's own clock back."""
        self._run(virtual.remove())
        self._run(virtual.unlock())

    # --- driving

    def drain(self) -> virtual.Moment:
        """Until nothing can run without time passing.

        Raises:
            Stalled: something runs for too long.
            Exception: what ended the worker.
        """
        progress_at = time.monotonic()
        before: Any = None
        while True:
            self._check()
            stirs = self._worker.stirs
            moment = self._look()
            now = time.monotonic()
            if (seen := (stirs, moment)) != before:
                before, progress_at = seen, now
            if now - progress_at > self._patience:
                raise self._stalled(now - progress_at)
            if self._catch_up(moment):
                continue
            working = set(moment.running) - self._functions.hanging
            if not moment.queues and not working:
                return moment
            if moment.queues:
                self._worker.look(moment.queues)
            elif working <= self._worker.waiting() and now - progress_at > _HEARING:
                return moment
            self._worker.wait(_LOOK)

    def skip(self, until: datetime) -> None:
        """Move the clock, stopping at every moment at which something is due."""
        moment = self.drain()
        while True:
            due = _earliest(moment.due_at, moment.retry_at, moment.deadline_at)
            if due is None or due > until:
                break
            moment = self._go_to(due)
        self._go_to(until)

    def until_ended(self, execution: UUID, latest: datetime) -> None:
        """Drain and move the clock until the execution has ended, and nothing else can run.

        Raises:
            ExecutionNotFound: there is none.
            WorkflowError: its code does not follow its history, or the like.
            Stuck: nothing is left that could end it.
        """
        moment = self.drain()
        while not self._run(virtual.ended(execution)):
            if moment.has_blocked:
                self._refuse_blocked(execution)
            due = _earliest(moment.due_at, moment.deadline_at)
            if due is None or due > latest:
                raise self._stuck(execution, due, latest)
            moment = self._go_to(due)

    def status(self, execution: UUID) -> models.ExecutionState:
        """Everything about an execution."""
        return self._run(database.status(execution))

    def history(self, execution: UUID) -> list[models.HistoryEntry]:
        """What a workflow did."""
        self.status(execution)  # raises if there is none
        return self._run(database.history(execution))

    def _go_to(self, moment: datetime) -> virtual.Moment:
        self._move(moment)
        self._tick()
        return self.drain()

    def _move(self, moment: datetime) -> None:
        # Before the database knows: what then runs may ask for it at once.
        self.now = max(self.now, moment.astimezone(UTC))
        self._run_all(virtual.move(moment))

    def _catch_up(self, moment: virtual.Moment) -> bool:
        """Do what is due now, or a matter of real moments; whether there was any."""
        due = _earliest(moment.due_at, moment.retry_at, moment.deadline_at)
        if moment.housekeeping_at is not None:
            self._move(moment.housekeeping_at)
        elif due is None or due > moment.now:
            return False
        self._tick()
        return True

    def _tick(self) -> None:
        while self._run(database.tick()).more:
            self._check()
        if self._functions.hanging:
            self._worker.beat()

    def _look(self) -> virtual.Moment:
        moment = self._run(virtual.look())
        self.now = moment.now.astimezone(UTC)
        return moment

    def _check(self) -> None:
        self._worker.check()
        if self.abandoned.is_set():
            raise KitError("nobody waits for this any more")

    def _run(self, call: database.Call[T]) -> T:
        with _translated():
            return database.run_sync(self._connection, call)

    def _run_all(self, calls: Sequence[database.Call[Any]]) -> None:
        with _translated():
            database.exchange_sync(self._connection, calls)

    # --- saying what is wrong

    def refuse_diverged(self) -> None:
        """Raise if a workflow does not follow its history and nobody has been told."""
        for one in self._blocked():
            if one.id not in self.told and isinstance(found := fault(one), errors.NonDeterminism):
                self.told.add(one.id)
                raise found

    def _refuse_blocked(self, execution: UUID) -> None:
        """Raise if the execution, or another of its family, waits for other code."""
        root = self.status(execution).root_id
        for one in self._blocked():
            if one.root_id == root:
                self.told.add(one.id)
                raise fault(one)

    def _blocked(self) -> list[models.ExecutionSummary]:
        return [one for one in self._unfinished() if one.status is models.Status.BLOCKED]

    def _unfinished(self) -> list[models.ExecutionSummary]:
        return self._run(virtual.unfinished())

    def _stuck(self, execution: UUID, due: datetime | None, latest: datetime) -> Stuck:
        state = self.status(execution)
        if due is None:
            why = "nothing is due that could change that"
        else:
            why = f"the next thing due is at {due:%Y-%m-%d %H:%M}, after {latest:%Y-%m-%d %H:%M}"
        others = [
            f"{one.function} {one.id} waits for {one.waits_for}"
            for one in self._unfinished()
            if one.id != execution and one.waits_for
        ]
        if len(others) > _MOST_SHOWN:
            others = [*others[:_MOST_SHOWN], f"{len(others) - _MOST_SHOWN} more"]
        return Stuck(
            f"{state.function} {state.id} waits for {state.waits_for or state.status}, and {why}",
            detail="; ".join(others) or None,
        )

    def _stalled(self, seconds: float) -> Stalled:
        running = self._worker.doing()
        return Stalled(
            f"nothing has happened for {seconds:.1f} s of real time",
            detail=f"running: {'; '.join(running) or 'nothing'}",
            hint="replace a task that takes long (with hang, if it is never to end), or raise "
            "patience",
        )


def fault(one: models.ExecutionSummary) -> errors.CurrantError:
    """The error that has a workflow blocked."""
    reason = (one.waits_for or "").removeprefix("blocked: ")
    name, _, message = reason.partition(": ")
    if name in _FAULTS:
        return _FAULTS[name](message)
    return Stuck(f"{one.function} {one.id} is blocked: {reason}")


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except psycopg.errors.InsufficientPrivilege:
        raise
    except psycopg.Error as error:
        raise database.translate(error) from error


def _earliest(*moments: datetime | None) -> datetime | None:
    return min((each for each in moments if each is not None), default=None)

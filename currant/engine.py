"""The exchange between a worker and the database: what has happened goes out, work comes in.

Reports (completions, failures, releases, activations) travel together with the next claim, in one
transaction. The first goes out at once; whatever is reported while that exchange is in flight goes
with the next one. What is claimed, and how reports were answered, is handed to the worker's
callbacks. This module knows nothing about running functions.
"""

import asyncio
import logging
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol
from uuid import UUID

import msgspec
import psycopg

from currant import database, errors, models
from currant.marks import Marks
from currant.models import Report

_LOG = logging.getLogger("currant")

# At most so many reports in one transaction, so that a backlog after an outage does not become one.
_MOST_REPORTS: Final = 500
# A busy worker looks for due timers and retries this often.
_TICK_INTERVAL: Final = 0.1
# Somebody who is woken more often than this polls for a while instead: producers need not notify.
_MOST_WAKES_PER_SECOND: Final = 50
_NAP: Final = 0.005


class Worker(Protocol):
    """What the engine needs of its worker. All calls come from the worker's event loop."""

    def free_slots(self) -> tuple[int, int]:
        """How many tasks and how many workflow activations could be started now."""

    def start(self, claimed: Sequence[models.Claimed]) -> None:
        """Run these."""

    def settled(self, report: Report, word: models.Word) -> None:
        """The database has answered a report for good."""

    def held(self) -> Mapping[int, UUID]:
        """The leases that the worker is working on: token and execution."""

    def lost(self, token: int) -> None:
        """The lease is another's: stop working on it."""


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


@dataclass(slots=True)
class _Batch:
    """Reports of one exchange."""

    completions: list[models.Completion] = field(default_factory=list)
    failures: list[models.Failure] = field(default_factory=list)
    releases: list[models.Release] = field(default_factory=list)
    activations: list[models.Activation] = field(default_factory=list)

    @classmethod
    def of(cls, reports: Sequence[Report]) -> "_Batch":
        batch = cls()
        for report in reports:
            match report:
                case models.Completion():
                    batch.completions.append(report)
                case models.Failure():
                    batch.failures.append(report)
                case models.Release():
                    batch.releases.append(report)
                case models.Activation():
                    batch.activations.append(report)
        return batch

    def calls(self, worker: UUID) -> list[tuple[Sequence[Report], database.Call[list[str]]]]:
        made: list[tuple[Sequence[Report], database.Call[list[str]]]] = []
        if self.completions:
            made.append((self.completions, database.complete_many(worker, self.completions)))
        if self.failures:
            made.append((self.failures, database.fail_many(worker, self.failures)))
        if self.releases:
            made.append((self.releases, database.release_many(worker, self.releases)))
        if self.activations:
            made.append((self.activations, database.advance_many(worker, self.activations)))
        return made


class Engine:
    """One worker's connection to the database, from `run` until `stop` and the outbox is empty."""

    def __init__(
        self,
        worker: Worker,
        *,
        connect: Callable[[], Awaitable[psycopg.AsyncConnection[Any]]],
        registration: Callable[[UUID], Mapping[str, object]],
        queues: Sequence[str],
        poll_interval: float,
        recover_interval: float,
    ) -> None:
        self.worker_id = models.new_id()
        self._worker = worker
        self._connect = connect
        self._registration = registration
        self._queues = deque(queues)
        self._poll_interval = poll_interval
        self._recover_interval = recover_interval
        self._marks = Marks()
        self._outbox: deque[Report] = deque()
        self._wake = asyncio.Event()
        self._claiming = True
        self._stopping = False
        self._hungry = True  # there may be work that has not been asked for
        self._declared_until = 0.0  # until then producers notify this worker
        self._tick_at = 0.0
        self._recover_at = 0.0
        self._recent_wakes: deque[float] = deque(maxlen=_MOST_WAKES_PER_SECOND)
        self._connection: psycopg.AsyncConnection[Any] | None = None
        self.connected = asyncio.Event()

    # --- What the worker calls ------------------------------------------------------------

    def report(self, report: Report) -> None:
        """Tell the database, soon."""
        self._outbox.append(report)
        self._wake.set()

    def nudge(self, *, is_work: bool = True) -> None:
        """There may be work (or, if not, something became due sooner than expected)."""
        if is_work:
            self._hungry = True
        else:
            self._tick_at = 0.0
        self._wake.set()

    def stop_claiming(self) -> None:
        """Take nothing new; reports still go out."""
        self._claiming = False
        self._wake.set()

    def stop(self) -> None:
        """End `run` once everything reported has been answered."""
        self._claiming = False
        self._stopping = True
        self._wake.set()

    @property
    def is_claiming(self) -> bool:
        return self._claiming

    # --- The loop -------------------------------------------------------------------------

    async def run(self) -> None:
        """Exchange until stopped; a lost connection is made again, with jittered backoff.

        Raises:
            CurrantError: what no waiting mends, such as a missing schema or a refused role.
        """
        failures = 0
        while not self._is_finished():
            try:
                await self._open()
                failures = 0
                await self._serve()
            except (psycopg.Error, OSError) as error:
                if isinstance(error, psycopg.Error) and not database.is_transient(error):
                    raise database.translate(error) from error
                self.connected.clear()
                delay = random.uniform(0.5, 1) * min(0.1 * 2**failures, 5)
                failures += 1
                _LOG.warning(
                    "database connection lost, trying again in %.1f s: %s",
                    delay,
                    str(error).strip().splitlines()[0]
                    if str(error).strip()
                    else type(error).__name__,
                )
                await self._close()
                await asyncio.sleep(delay)

    def _is_finished(self) -> bool:
        return self._stopping and not self._outbox

    async def _serve(self) -> None:
        while not self._is_finished():
            self._wake.clear()
            now = time.monotonic()
            reports = self._take_reports()
            tasks, workflows = self._slots()
            if reports or (self._hungry and (tasks or workflows)):
                await self._exchange(reports, tasks, workflows)
                if now >= self._tick_at:
                    await self._tick(_TICK_INTERVAL)
            elif now >= self._tick_at:
                await self._tick(None)
            else:
                await self._sleep(tasks, workflows)

    def _take_reports(self) -> list[Report]:
        count = min(len(self._outbox), _MOST_REPORTS)
        return [self._outbox.popleft() for _ in range(count)]

    def _slots(self) -> tuple[int, int]:
        return self._worker.free_slots() if self._claiming else (0, 0)

    async def _sleep(self, tasks: int, workflows: int) -> None:
        timeout = min(self._poll_interval, max(self._tick_at - time.monotonic(), 0.001))
        if tasks or workflows:
            if self._is_woken_often():
                timeout = _NAP
            elif not await self._declare(tasks, workflows):
                return
        try:
            async with asyncio.timeout(timeout):
                await self._wake.wait()
        except TimeoutError:
            self._hungry = self._hungry or timeout in (_NAP, self._poll_interval)

    async def _declare(self, tasks: int, workflows: int) -> bool:
        """Ask for notifications, and look once more; whether there was nothing.

        A producer sees the declaration only once it has committed, hence the second look; what
        falls between a producer's look and that commit is found by the next poll.
        """
        renewed = time.monotonic() < self._declared_until
        for _ in range(1 if renewed else 2):
            if await self._exchange([], tasks, workflows, wait=2 * self._poll_interval + 1):
                return False
        return not (self._outbox or self._wake.is_set())

    def _is_woken_often(self) -> bool:
        wakes = self._recent_wakes
        return len(wakes) == _MOST_WAKES_PER_SECOND and wakes[0] > time.monotonic() - 1

    # --- One exchange ---------------------------------------------------------------------

    async def _exchange(
        self, reports: list[Report], tasks: int, workflows: int, wait: float = 0
    ) -> int:
        """Send the reports and claim into the free slots; how much was claimed."""
        assert self._connection is not None
        batch = _Batch.of(reports).calls(self.worker_id)
        calls: list[database.Call[Any]] = [call for _, call in batch]
        started = time.monotonic()
        if tasks or workflows:
            self._queues.rotate(-1)
            hints = self._marks.hints(started) if not wait else {"wait": wait}
            calls.append(
                database.claim(self.worker_id, list(self._queues), tasks, workflows, hints)
            )
        try:
            answers = await database.exchange(self._connection, calls)
        except psycopg.Error as error:
            if error.sqlstate == "KR002":
                await self._register_anew()
            elif reports and not database.is_transient(error):
                await self._split(reports, error)
            else:
                self._outbox.extendleft(reversed(reports))
                raise
            return 0

        for (sent, _), words in zip(batch, answers, strict=False):
            self._settle(sent, words)
        if not (tasks or workflows):
            return 0
        claimed: list[models.Claimed] = answers[-1]
        finished = time.monotonic()
        self._declared_until = finished + wait - self._poll_interval if wait else 0.0
        self._marks.learn(
            claimed, is_full_scan="marks" not in hints, at=finished, took=finished - started
        )
        taken = sum(one.kind == "task" for one in claimed)
        # A short claim has emptied the queues, as far as its hints let it see.
        self._hungry = taken == tasks > 0 or len(claimed) - taken == workflows > 0
        if not claimed and "marks" in hints:
            self._marks.forget()
            self._hungry = True
        if claimed:
            self._recent_wakes.append(finished)
            self._worker.start(claimed)
        return len(claimed)

    def _settle(self, reports: Sequence[Report], words: Sequence[str]) -> None:
        for report, text in zip(reports, words, strict=True):
            word = models.Word(text)
            if word is models.Word.BUSY:
                # Locked by somebody for a moment.
                self._outbox.append(report)
                continue
            if isinstance(report, models.Failure | models.Activation):
                # It may have left something that is due before the next round of maintenance.
                self._tick_at = min(self._tick_at, time.monotonic() + _TICK_INTERVAL)
            self._worker.settled(report, word)

    async def _split(self, reports: list[Report], error: psycopg.Error) -> None:
        """One of the reports is not storable: find it, so that the others are stored."""
        if len(reports) > 1:
            middle = len(reports) // 2
            await self._exchange(reports[:middle], 0, 0)
            await self._exchange(reports[middle:], 0, 0)
            return
        report = reports[0]
        reason = database.translate(error)
        _LOG.error("the database refused a report on %s: %s", report.execution_id, reason)
        match report:
            case models.Completion(execution_id=execution, token=token):
                failure = errors.describe(reason, retryable=False)
                self.report(models.Failure(execution, token, _json(failure)))
            case models.Failure(execution_id=execution, token=token):
                replaced = {
                    "type": "Error",
                    "message": "the error could not be stored",
                    "retryable": False,
                }
                self.report(models.Failure(execution, token, _json(replaced)))
            case models.Activation(execution_id=execution, token=token, last_event=last_event):
                self._worker.settled(report, models.Word.STALE)
                options = _json({"blocked": str(reason)})
                self.report(models.Activation(execution, token, last_event, (), "[]", options))
            case models.Release():
                self._worker.settled(report, models.Word.LOST)

    # --- Maintenance ----------------------------------------------------------------------

    async def _tick(self, longest: float | None) -> None:
        """A round of maintenance, and when the next one is due."""
        assert self._connection is not None
        now = time.monotonic()
        if now >= self._recover_at:
            result = await database.run(self._connection, database.tick("recover"))
            if not result.more:
                self._recover_at = now + self._recover_interval
        result = await database.run(self._connection, database.tick("due"))
        if result.done:
            self._hungry = True
        wait = self._poll_interval if longest is None else longest
        if result.next_due_in is not None:
            wait = min(wait, max(result.next_due_in.total_seconds(), 0.001))
        self._tick_at = time.monotonic() + (0 if result.more else wait)

    # --- The connection -------------------------------------------------------------------

    async def _open(self) -> None:
        if self._connection is None or self._connection.closed:
            self._connection = await self._connect()
        await self._register()
        self._declared_until = 0.0
        self._hungry = True
        self.connected.set()

    async def _register(self) -> None:
        """Make this worker known, and find what it holds according to the database."""
        assert self._connection is not None
        await database.run(
            self._connection, database.register_worker(self._registration(self.worker_id))
        )
        try:
            leases = await database.run(self._connection, database.resume(self.worker_id))
        except psycopg.Error as error:
            if error.sqlstate != "KR002":
                raise
            await self._register_anew()
            return
        stored = {one.token for one in leases}
        reported = {report.token for report in self._outbox}
        held = set(self._worker.held())
        for token in held - stored - reported:
            self._worker.lost(token)
        # Of a claim whose answer never arrived.
        unknown = [one for one in leases if one.token not in held | reported]
        if unknown:
            _LOG.info("taking up %d leases of a lost answer", len(unknown))
            self._worker.start(unknown)

    async def _register_anew(self) -> None:
        """This worker was declared dead: its work is others', and it begins again as a new one."""
        assert self._connection is not None
        old, self.worker_id = self.worker_id, models.new_id()
        _LOG.warning(
            "worker %s was declared dead, its heartbeats came too late: it starts again as %s",
            old,
            self.worker_id,
        )
        self._outbox.clear()
        for token in list(self._worker.held()):
            self._worker.lost(token)
        await database.run(
            self._connection, database.register_worker(self._registration(self.worker_id))
        )

    async def deregister(self) -> None:
        """Say goodbye, as far as the database can be reached."""
        try:
            if self._connection is None or self._connection.closed:
                self._connection = await self._connect()
            async with asyncio.timeout(5):
                await database.run(self._connection, database.deregister_worker(self.worker_id))
        except (psycopg.Error, OSError, TimeoutError) as error:
            _LOG.warning("could not say goodbye to the database: %s", error)

    async def close(self) -> None:
        """Close the connection."""
        await self._close()

    async def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

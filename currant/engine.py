"""The exchange between a worker and the database: what has happened goes out, work comes in.

Reports (completions, failures, releases, activations, steps) travel together with the next claim,
in one transaction. The first goes out at once; whatever is reported while that exchange is in
flight goes with the next one. What is claimed, and how reports were answered, is handed to the
worker's callbacks. This module knows nothing about running functions.
"""

import asyncio
import logging
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Protocol
from uuid import UUID

import psycopg

from currant import database, errors, models
from currant.appetite import Appetite, Claim
from currant.maintenance import Maintenance
from currant.models import Report
from currant.news import News, Reader
from currant.reports import calls_of, is_bad_data, leases_of, replacement, tasks_asked_for

_LOG = logging.getLogger("currant")

# What somebody else had locked is sent again after this.
_BUSY_PAUSE: Final = 0.05
_FAREWELL_TIMEOUT: Final = 5.0
# SQLSTATE of what follows when somebody has had the session forget what it had prepared.
_NOT_PREPARED: Final = "26000"
# Looked up for every report; asking the enumeration takes ten times as long.
_WORDS: Final = {word.value: word for word in models.Word}


class Worker(Reader, Protocol):
    """What the engine needs of its worker. All calls come from the worker's event loop."""

    def free_slots(self) -> tuple[int, int]:
        """How many tasks and how many workflow activations are to be claimed next."""

    def steps_under_way(self) -> int:
        """How many workflows are about to report a step, and to ask for the slot of its task."""

    def held(self) -> Mapping[int, UUID]:
        """The leases that the worker is working on: token and execution."""

    def lost(self, token: int) -> None:
        """The lease is another's: stop working on it."""


@dataclass(eq=False, slots=True)
class _Flight:
    """One exchange, until it has been answered."""

    reports: list[Report]
    claim: Claim
    batch: list[tuple[Sequence[Report], database.Call[Any]]]
    calls: list[database.Call[Any]]
    started: float
    sent: database.Sent | None = None  # that it was sent behind another
    is_last: bool = False  # nothing is to be sent behind it


class Engine:
    """One worker's connection to the database, from `run` until `stop` and the outbox is empty."""

    def __init__(
        self,
        worker: Worker,
        *,
        connect: Callable[[], Awaitable[psycopg.AsyncConnection[Any]]],
        registration: Callable[[UUID], Mapping[str, object]],
        queues: Sequence[str],
        concurrency: int,
        poll_interval: float,
        recover_interval: float,
    ) -> None:
        self.worker_id = models.new_id()
        self._worker = worker
        self._connect = connect
        self._registration = registration
        self._appetite = Appetite(queues, concurrency=concurrency, poll_interval=poll_interval)
        self._maintenance = Maintenance(
            self._appetite, poll_interval=poll_interval, recover_interval=recover_interval
        )
        self._outbox: deque[Report] = deque()
        self._wake = asyncio.Event()
        self._claiming = True
        self._stopping = False
        self._postponed: dict[int, Report] = {}  # those that are sent again in a moment
        self._beats: dict[int, models.Beat] = {}  # details to store before their lease goes
        self._news = News(worker, self._wake.set)
        self._flight: _Flight | None = None  # what the database is answering
        self._behind: _Flight | None = None  # what has been sent behind that
        self._connection: psycopg.AsyncConnection[Any] | None = None
        self.is_registered = False
        self._is_doubted = False  # somebody has heard that this worker is not known
        self._failures = 0  # exchanges in a row that failed

    # --- What the worker calls ------------------------------------------------------------

    def report(self, report: Report, details: str | None = None) -> None:
        """Tell the database, soon; `details` are kept for the next attempt."""
        if details is not None:
            self._beats[report.token] = models.Beat(report.execution_id, report.token, details)
        self._outbox.append(report)
        if self._flight is not None and len(self._outbox) >= self._appetite.most_reports:
            self._send_behind()
        self._wake.set()

    def nudge(self) -> None:
        """There may be work."""
        self._appetite.nudge()
        self._wake.set()

    def notified(self, *, is_work: bool) -> None:
        """Somebody says that there is work (or, if not, that something becomes due soon)."""
        if is_work:
            self._appetite.notified()
        else:
            self._maintenance.look_now()
        self._wake.set()

    def listening(self, is_listening: bool) -> None:
        """Notifications arrive from now on, or do not any more."""
        self._appetite.listening(is_listening)
        self._wake.set()

    def serve(self, queues: Iterable[str]) -> None:
        """Take work from these queues too."""
        self._appetite.serve(queues)
        self._wake.set()

    def doubt(self) -> None:
        """Make sure that the database still knows this worker."""
        self._is_doubted = True
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

    # --- The loop -------------------------------------------------------------------------

    async def run(self) -> None:
        """Exchange until stopped; a lost connection is made again, with jittered backoff.

        Raises:
            CurrantError: the database refuses from the beginning. Once work has been exchanged,
                even that is waited for to pass, since there are results to bring home.
        """
        while not self._is_finished():
            try:
                await self._open()
                await self._serve()
            except (psycopg.Error, OSError) as error:
                is_refusal = isinstance(error, psycopg.Error) and not database.is_transient(error)
                if is_refusal and not self.is_registered:
                    raise database.translate(error) from error  # type: ignore[arg-type]
                delay = random.uniform(0.5, 1) * min(0.1 * 2**self._failures, 5)
                self._failures = min(self._failures + 1, 10)
                _LOG.log(
                    logging.ERROR if is_refusal else logging.WARNING,
                    "%s, trying again in %.1f s: %s",
                    "the database refused" if is_refusal else "database connection lost",
                    delay,
                    (str(error).strip() or type(error).__name__).splitlines()[0],
                )
                await self._close()
                await asyncio.sleep(delay)

    def _is_finished(self) -> bool:
        return self._stopping and not (self._outbox or self._postponed or self._behind)

    async def _serve(self) -> None:
        while not self._is_finished():
            self._wake.clear()
            if self._news.fault is not None:
                raise self._news.fault
            if self._behind is not None:
                await self._land_behind()
                continue
            if self._is_doubted:
                self._is_doubted = False
                await self._register()
            reports = self._take_reports()
            tasks, workflows = self._slots()
            is_hungry = self._appetite.is_hungry(tasks, workflows)
            if reports or is_hungry:
                await self._exchange(reports, *self._wanted(tasks, workflows))
            elif not self._maintenance.is_due:
                await self._sleep(tasks, workflows)
                continue
            if self._maintenance.is_due and self._behind is None:
                await self._maintain(is_busy=bool(reports or is_hungry))
        self._news.tell()

    def _take_reports(self) -> list[Report]:
        count = min(len(self._outbox), self._appetite.most_reports)
        return [self._outbox.popleft() for _ in range(count)]

    def _slots(self) -> tuple[int, int]:
        if not self._claiming:
            return 0, 0
        tasks, workflows = self._worker.free_slots()
        if self._flight is not None:
            tasks -= self._flight.claim.tasks + self._flight.claim.direct
            workflows -= self._flight.claim.workflows
        for one in self._news.claimed:
            if one.kind == "task":
                tasks -= 1
            else:
                workflows -= 1
        return max(tasks - self._worker.steps_under_way(), 0), max(workflows, 0)

    def _wanted(self, tasks: int, workflows: int) -> tuple[int, int]:
        """For how many of these slots reports bring something home."""
        if self._appetite.is_hungry(tasks, workflows) or not self._appetite.is_declared:
            return tasks, workflows
        # New work is announced: they need not wait for a claim.
        return 0, 0

    async def _sleep(self, tasks: int, workflows: int) -> None:
        """Until a report, a notification, or the time for the next poll or round of maintenance."""
        until = self._maintenance.due_at
        if tasks or workflows:
            is_step_under_way = self._worker.steps_under_way() > 0
            pause = self._appetite.pause(is_step_under_way=is_step_under_way)
            if pause is not None:
                until = min(until, pause)
            elif not await self._declare():
                return
            else:
                until = min(until, self._appetite.poll_at)
        try:
            async with asyncio.timeout(max(until - time.monotonic(), 0)):
                await self._wake.wait()
        except TimeoutError:
            pass

    async def _declare(self) -> bool:
        """Have producers notify this worker, and look once more; whether there was nothing."""
        looks, wait = self._appetite.looks_before_sleep()
        for _ in range(looks):
            # Counted for each look: the worker may have been asked to stop in between.
            tasks, workflows = self._slots()
            if not (tasks or workflows):
                return False
            if await self._exchange([], tasks, workflows, wait=wait) or self._behind is not None:
                return False
        return not (self._outbox or self._wake.is_set())

    # --- One exchange ---------------------------------------------------------------------

    async def _exchange(
        self, reports: list[Report], tasks: int, workflows: int, wait: float = 0
    ) -> int:
        """Send the reports and claim into the free slots; how much was claimed."""
        assert self._connection is not None
        flight = self._prepare(reports, tasks, workflows, wait)
        return await self._land(flight, database.exchange(self._connection, flight.calls))

    def _prepare(
        self, reports: list[Report], tasks: int, workflows: int, wait: float = 0
    ) -> _Flight:
        claim = self._appetite.plan(
            tasks,
            workflows,
            free=self._slots()[0],
            asked=tasks_asked_for(reports),
            is_step_under_way=self._worker.steps_under_way() > 0,
            wait=wait,
        )
        queues = self._appetite.queues
        batch = calls_of(self.worker_id, reports, (queues, claim.direct) if claim.direct else None)
        calls: list[database.Call[Any]] = [*self._heartbeats(reports), *(call for _, call in batch)]
        if claim.is_one:
            calls.append(
                database.claim(self.worker_id, queues, claim.tasks, claim.workflows, claim.hints)
            )
        return _Flight(reports, claim, batch, calls, time.monotonic())

    def _send_behind(self) -> None:
        """Send what is reported while the database is at work, since it is as much as goes at once.

        Then the database has something to go on with while its last answer is gone through.
        """
        assert self._connection is not None
        assert self._flight is not None
        has_to_wait = self._is_doubted or self._maintenance.is_due
        if self._behind is not None or self._flight.is_last or has_to_wait:
            return
        # Once is enough: whatever keeps it from being sent would keep it the next time.
        self._flight.is_last = True
        if not database.can_send_behind(self._connection):
            return
        reports = self._take_reports()
        flight: _Flight | None = None
        # Of an error the exchange that meets it next will tell: whoever has reported is not to.
        with suppress(Exception):
            flight = self._prepare(reports, *self._wanted(*self._slots()))
            flight.sent = database.send_behind(self._connection, flight.calls)
        if flight is not None and flight.sent is not None:
            self._behind = flight
        else:
            self._take_back(reports)

    async def _land_behind(self) -> None:
        flight, self._behind = self._behind, None
        assert self._connection is not None
        assert flight is not None
        assert flight.sent is not None
        flight.started = time.monotonic()
        await self._land(flight, database.receive(self._connection, flight.sent))

    async def _land(self, flight: _Flight, answers: Awaitable[list[Any]]) -> int:
        """Wait for the answer and take it in; how much was claimed."""
        self._flight = flight
        try:
            got = await answers
        except (psycopg.Error, OSError) as error:
            self._flight = None
            await self._clear_behind()
            return await self._failed(flight, error)
        finally:
            self._flight = None
        return self._take_in(flight, got)

    async def _clear_behind(self) -> None:
        """See to it that the connection, if there still is one, can be used for other things."""
        flight, self._behind = self._behind, None
        if flight is None:
            return
        assert self._connection is not None
        assert flight.sent is not None
        try:
            got = await database.receive(self._connection, flight.sent)
        except (psycopg.Error, OSError):
            self._take_back(flight.reports)
        else:
            self._take_in(flight, got)

    def _take_in(self, flight: _Flight, got: Sequence[Any]) -> int:
        self._failures = 0
        claim, batch = flight.claim, flight.batch
        claimed = self._settle_all(batch, got[len(flight.calls) - len(batch) - claim.is_one :])
        if claimed:
            self._appetite.began()
        if claim.is_one:
            if self._appetite.learn(claim, got[-1], flight.started):
                self._maintenance.look_soon()
            claimed += got[-1]
        self._news.add_claimed(claimed)
        if self._outbox or self._behind is not None:
            # The next exchange goes out before this one is gone through.
            self._news.tell_soon()
        else:
            self._news.tell()
        return len(claimed)

    async def _failed(self, flight: _Flight, error: psycopg.Error | OSError) -> int:
        """Nothing of it has happened: it is sent again, once that is of use."""
        if isinstance(error, psycopg.Error) and is_bad_data(error) and flight.reports:
            self._appetite.nudge()
            await self._send_apart(flight.reports)
            return 0
        self._take_back(flight.reports)
        state = getattr(error, "sqlstate", None)
        if state == "KR002":
            await self._register_anew()
        elif state == _NOT_PREPARED and not self._failures:
            self._failures = 1
        else:
            raise error
        return 0

    def _take_back(self, reports: Sequence[Report]) -> None:
        self._outbox.extendleft(reversed(reports))
        self._appetite.nudge()

    def _heartbeats(self, reports: Sequence[Report]) -> list[database.Call[Any]]:
        if not self._beats:
            return []
        beats = [self._beats[one.token] for one in reports if one.token in self._beats]
        return [database.heartbeat(self.worker_id, beats)] if beats else []

    def _settle_all(
        self,
        batch: Sequence[tuple[Sequence[Report], database.Call[Any]]],
        answers: Sequence[Sequence[str] | models.Stepped],
    ) -> list[models.Claimed]:
        """Hand out the answers; the tasks that began with them."""
        started: list[models.Claimed] = []
        for (reports, _), answer in zip(batch, answers, strict=False):
            if isinstance(answer, models.Stepped):
                words = answer.words
                started += answer.started
                steps = [one for one in reports if isinstance(one, models.Step)]
                completions = [one for step in steps for one in step.completions]
                for completion, word in zip(completions, answer.completed, strict=True):
                    self._settle(completion, _WORDS[word])
            else:
                words = list(answer)
            for report, word in zip(reports, words, strict=True):
                self._settle(report, _WORDS[word])
        return started

    def _settle(self, report: Report, word: models.Word) -> None:
        if word is models.Word.BUSY:
            self._postponed[report.token] = report
            asyncio.get_running_loop().call_later(_BUSY_PAUSE, self._send_again, report.token)
            return
        self._beats.pop(report.token, None)
        if isinstance(report, models.Failure | models.Activation | models.Step):
            # It may have left something that is due before the next round of maintenance.
            self._maintenance.look_soon()
        self._news.add_answer(report, word)

    def _send_again(self, token: int) -> None:
        report = self._postponed.pop(token, None)
        if report is not None:
            self.report(report)

    async def _send_apart(self, reports: Sequence[Report]) -> None:
        """One of the reports cannot be stored: find it, so that the others are."""
        assert self._connection is not None
        parts = deque([list(reports)])
        while parts:
            part = parts.popleft()
            batch = calls_of(self.worker_id, part)
            calls = [*self._heartbeats(part), *(call for _, call in batch)]
            try:
                answers = await database.exchange(self._connection, calls)
            except (psycopg.Error, OSError) as error:
                if isinstance(error, OSError) or not is_bad_data(error):
                    self._outbox.extendleft(
                        reversed([*part, *(one for rest in parts for one in rest)])
                    )
                    raise
                if len(part) == 1:
                    self._replace(part[0], database.translate(error))
                else:
                    middle = len(part) // 2
                    parts.extendleft([part[middle:], part[:middle]])
                continue
            self._settle_all(batch, answers[len(calls) - len(batch) :])
            self._news.tell()

    def _replace(self, report: Report, reason: errors.CurrantError) -> None:
        """Report something storable in place of what was refused."""
        if isinstance(report, models.Step):
            # Which part of it was refused shows when it is sent, or computed, by itself.
            self._worker.settled(report, models.Word.REFUSED)
            for completion in report.completions:
                self.report(completion)
            return
        _LOG.error("the database refused a report on %s: %s", report.execution_id, reason)
        self._beats.pop(report.token, None)
        instead = replacement(report, reason)
        if instead is None or isinstance(report, models.Activation):
            # What it computed is of no use. (Without a replacement its deadline ends the lease.)
            self._worker.settled(report, models.Word.LOST)
        if instead is not None:
            self.report(instead)

    # --- The connection -------------------------------------------------------------------

    async def _open(self) -> None:
        if self._connection is None or self._connection.closed:
            self._connection = await self._connect()
        await self._register()
        self.is_registered = True
        # Before the first claim: deadlines of what began after a gap in the ticks need not wait.
        self._maintenance.look_now()
        await self._maintain(is_busy=True)
        self._appetite.begin_anew()

    async def _maintain(self, *, is_busy: bool) -> None:
        assert self._connection is not None
        await self._maintenance.run(self._connection, is_busy=is_busy)

    async def _register(self) -> None:
        """Make this worker known, and find what it holds according to the database."""
        assert self._connection is not None
        self._news.tell()
        registration = database.register_worker(self._registration(self.worker_id))
        try:
            await database.run(self._connection, registration)
            leases = await database.run(self._connection, database.resume(self.worker_id))
        except psycopg.Error as error:
            if error.sqlstate != "KR002":
                raise
            await self._register_anew()
            return
        stored = {one.token for one in leases}
        reported = {token for report in self._outbox for _, token in leases_of(report)}
        reported |= self._postponed.keys()
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
        new = models.new_id()
        _LOG.warning(
            "worker %s was declared dead, its heartbeats came too late: it starts again as %s",
            self.worker_id,
            new,
        )
        self._news.tell()
        self._outbox.extend(self._postponed.values())
        self._postponed.clear()
        while self._outbox:
            report = self._outbox.popleft()
            if isinstance(report, models.Step):
                for completion in report.completions:
                    self._settle(completion, models.Word.LOST)
            self._settle(report, models.Word.LOST)
        self._news.tell()
        for token in list(self._worker.held()):
            self._worker.lost(token)
        await database.run(self._connection, database.register_worker(self._registration(new)))
        self.worker_id = new
        self._appetite.begin_anew()

    async def deregister(self) -> None:
        """Say goodbye, as far as the database can be reached."""
        try:
            async with asyncio.timeout(_FAREWELL_TIMEOUT):
                if self._connection is None or self._connection.closed:
                    self._connection = await self._connect()
                await database.run(self._connection, database.deregister_worker(self.worker_id))
        except (psycopg.Error, OSError, TimeoutError, errors.CurrantError) as error:
            _LOG.warning("could not say goodbye to the database: %s", error)

    async def close(self) -> None:
        """Close the connection."""
        await self._close()

    async def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

"""The exchange between a worker and the database: what has happened goes out, work comes in.

Reports (completions, failures, releases, activations) travel together with the next claim, in one
transaction. The first goes out at once; whatever is reported while that exchange is in flight goes
with the next one. What is claimed, and how reports were answered, is handed to the worker's
callbacks. This module knows nothing about running functions.
"""

import asyncio
import logging
import math
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Protocol
from uuid import UUID

import psycopg

from currant import database, errors, models
from currant.marks import Marks
from currant.models import Report
from currant.reports import calls_of, is_bad_data, leases_of, replacement

_LOG = logging.getLogger("currant")

# At most so many reports in one transaction, so that a backlog after an outage does not become one.
_MOST_REPORTS: Final = 500
# A busy worker looks for due timers and retries this often.
_TICK_INTERVAL: Final = 0.1
# One that is told what becomes due looks this often all the same.
_TOLD_TICK_INTERVAL: Final = 5.0
# Seconds for which a sleeping worker asks to be notified; it asks again when half of them are over.
_DECLARATION: Final = 10.0
# Somebody who is woken more often than this polls for a while instead: producers need not notify.
_MOST_WAKES_PER_SECOND: Final = 50
# Who has just taken something does not go to sleep for this long.
_LINGER: Final = 0.005
# The naps get longer as long as there is nothing.
_SHORTEST_NAP: Final = 0.005
_LONGEST_NAP: Final = 0.04
# What somebody else had locked is sent again after this.
_BUSY_PAUSE: Final = 0.05
_FAREWELL_TIMEOUT: Final = 5.0
# With this many slots or more on each side, one half of them runs while the other is on its way to
# the database and back. With fewer, an exchange for each half costs more than running both at once.
_LEAST_HALF: Final = 50
# After a claim that left slots free, workflows' tasks are taken without queueing for so long.
_DIRECT_SECONDS: Final = 0.1
# Looked up for every report; asking the enumeration takes ten times as long.
_WORDS: Final = {word.value: word for word in models.Word}


class Worker(Protocol):
    """What the engine needs of its worker. All calls come from the worker's event loop."""

    def free_slots(self) -> tuple[int, int]:
        """How many tasks and how many workflow activations are to be claimed next."""

    def steps_under_way(self) -> int:
        """How many workflows are about to report a step, and to ask for the slot of its task."""

    def start(self, claimed: Sequence[models.Claimed]) -> None:
        """Run these."""

    def settled(self, report: Report, word: models.Word) -> None:
        """The database has answered a report for good."""

    def held(self) -> Mapping[int, UUID]:
        """The leases that the worker is working on: token and execution."""

    def lost(self, token: int) -> None:
        """The lease is another's: stop working on it."""


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
        self._queues = list(queues)
        half = -(-concurrency // 2)
        self._most_tasks = half if half >= _LEAST_HALF else concurrency
        self._poll_interval = poll_interval
        self._recover_interval = recover_interval
        self._marks = Marks()
        self._outbox: deque[Report] = deque()
        self._wake = asyncio.Event()
        self._claiming = True
        self._stopping = False
        # There may be work of the kind that has not been asked for.
        self._wants_tasks = True
        self._wants_workflows = True
        self._holds_back = False  # new workflows may wait that there was no room for
        self._postponed: dict[int, Report] = {}  # those that are sent again in a moment
        self._beats: dict[int, models.Beat] = {}  # details to store before their lease goes
        self._accepted: list[Report] = []  # the worker is yet to be told
        self._poll_at = 0.0
        self._direct_until = 0.0  # until then workflows' tasks need not queue
        self._is_listening = False  # notifications arrive
        self._wait = max(_DECLARATION, 2 * poll_interval + 1)
        self._empty_until = 0.0  # until then steps go out without a claim
        self._declared_until = 0.0  # until then producers notify this worker
        self._declare_at = 0.0
        self._tick_at = 0.0
        self._recover_at = 0.0
        self._recent_wakes: deque[float] = deque(maxlen=_MOST_WAKES_PER_SECOND)
        self._nap = _SHORTEST_NAP
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
        self._wake.set()

    def nudge(self) -> None:
        """There may be work."""
        self._wants_tasks = self._wants_workflows = True
        self._wake.set()

    def notified(self, *, is_work: bool) -> None:
        """Somebody says that there is work (or, if not, that something becomes due soon)."""
        if is_work:
            self._recent_wakes.append(time.monotonic())
            self.nudge()
        else:
            self._tick_at = 0.0
            self._wake.set()

    def listening(self, is_listening: bool) -> None:
        """Notifications arrive from now on, or do not any more."""
        self._is_listening = is_listening
        # What was announced before nobody heard.
        self._declared_until = 0.0
        self.nudge()

    def serve(self, queues: Iterable[str]) -> None:
        """Take work from these queues too."""
        self._queues.extend(queue for queue in queues if queue not in self._queues)
        self.nudge()

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
        return self._stopping and not self._outbox and not self._postponed

    async def _serve(self) -> None:
        while not self._is_finished():
            self._wake.clear()
            if self._is_doubted:
                self._is_doubted = False
                await self._register()
            reports = self._take_reports()
            tasks, workflows = self._slots()
            is_hungry = (tasks and self._wants_tasks) or (
                workflows and (self._wants_workflows or (tasks and self._holds_back))
            )
            if is_hungry or (reports and not self._is_declared()):
                await self._exchange(reports, tasks, workflows)
            elif reports:
                # New work is announced: they need not wait for a claim.
                await self._exchange(reports, 0, 0)
            elif time.monotonic() < self._maintain_at:
                await self._sleep(tasks, workflows)
                continue
            if time.monotonic() >= self._maintain_at:
                await self._tick(is_busy=bool(reports or is_hungry))
        self._settle_accepted()

    def _take_reports(self) -> list[Report]:
        count = min(len(self._outbox), _MOST_REPORTS)
        return [self._outbox.popleft() for _ in range(count)]

    def _slots(self) -> tuple[int, int]:
        if not self._claiming:
            return 0, 0
        tasks, workflows = self._worker.free_slots()
        return max(tasks - self._worker.steps_under_way(), 0), workflows

    async def _sleep(self, tasks: int, workflows: int) -> None:
        """Until a report, a notification, or the time for the next poll or round of maintenance."""
        until = self._maintain_at
        if tasks or workflows:
            now = time.monotonic()
            if self._is_woken_often():
                until = min(until, now + self._nap)
                self._nap = min(2 * self._nap, _LONGEST_NAP)
                self._wants_tasks = self._wants_workflows = True
            elif self._worker.steps_under_way():
                pass  # their reports come in a moment
            elif not self._is_declared() and now < self._declare_at:
                # What has just begun may be over in a moment, and its report asks for more.
                until = min(until, self._declare_at)
            elif not await self._declare(tasks, workflows):
                return
            else:
                until = min(until, self._poll_at)
        try:
            async with asyncio.timeout(max(until - time.monotonic(), 0)):
                await self._wake.wait()
        except TimeoutError:
            pass

    async def _declare(self, tasks: int, workflows: int) -> bool:
        """Have producers notify this worker, and look once more; whether there was nothing.

        A producer sees the declaration only once it has committed, hence the second look; what
        falls between a producer's look and that commit is found by the next poll.
        """
        looks = 1 if time.monotonic() >= self._poll_at else 0
        if self._is_listening and not self._is_declared():
            looks = 2
        for _ in range(looks):
            wait = self._wait if self._is_listening else 0
            if await self._exchange([], tasks, workflows, wait=wait):
                return False
        return not (self._outbox or self._wake.is_set())

    def _is_declared(self) -> bool:
        """Whether producers notify this worker."""
        return time.monotonic() < self._declared_until

    def _is_woken_often(self) -> bool:
        wakes = self._recent_wakes
        return len(wakes) == _MOST_WAKES_PER_SECOND and wakes[0] > time.monotonic() - 1

    # --- One exchange ---------------------------------------------------------------------

    async def _exchange(
        self, reports: list[Report], tasks: int, workflows: int, wait: float = 0
    ) -> int:
        """Send the reports and claim into the free slots; how much was claimed."""
        assert self._connection is not None
        started = time.monotonic()
        asked = sum(
            one.tasks for one in reports if isinstance(one, models.Activation | models.Step)
        )
        # Workflows begin as others make room, so that those that have begun get on.
        fresh = max(tasks - asked, 0 if asked or self._worker.steps_under_way() else 1)
        direct = self._direct_slots(asked, started)
        tasks = min(max(tasks - direct, 0), self._most_tasks)
        if 0 < asked == direct and started < self._empty_until:
            tasks = workflows = 0
        batch = calls_of(self.worker_id, reports, (self._queues, direct) if direct else None)
        calls: list[database.Call[Any]] = [*self._heartbeats(reports), *(call for _, call in batch)]
        hints: dict[str, Any] = {}
        if tasks or workflows:
            hints = self._hints(started, wait)
            if fresh < workflows:
                hints["fresh"] = fresh
            calls.append(database.claim(self.worker_id, self._queues, tasks, workflows, hints))
            # What is announced while the claim is under way may have come too late for it.
            self._wants_tasks &= not tasks
            self._wants_workflows &= not workflows
        try:
            answers = await database.exchange(self._connection, calls)
        except (psycopg.Error, OSError) as error:
            self._wants_tasks = self._wants_workflows = True
            if isinstance(error, psycopg.Error) and is_bad_data(error) and reports:
                await self._send_apart(reports)
                return 0
            self._outbox.extendleft(reversed(reports))
            if getattr(error, "sqlstate", None) != "KR002":
                raise
            await self._register_anew()
            return 0

        self._failures = 0
        claimed = self._settle_all(
            batch, answers[len(calls) - len(batch) - bool(tasks or workflows) :]
        )
        if claimed:
            self._declare_at = time.monotonic() + _LINGER
        if tasks or workflows:
            self._learn(answers[-1], tasks, workflows, hints, started)
            claimed += answers[-1]
        if claimed:
            self._worker.start(claimed)
        return len(claimed)

    def _direct_slots(self, asked: int, now: float) -> int:
        """How many slots are for the tasks that workflows ask for with this exchange.

        Only where nothing waits that would come before them: the last claims left slots free, or
        gave nothing but such tasks, just made; or what comes is announced.
        """
        if now >= self._direct_until and (self._wants_tasks or not self._is_declared()):
            return 0
        return min(asked, self._slots()[0])

    def _hints(self, now: float, wait: float) -> dict[str, Any]:
        hints = self._marks.hints(now, before_sleep=wait > 0)
        if wait:
            hints["wait"] = wait
        elif self._is_declared() and not self._is_woken_often():
            # It lasts; a claim that does not say so would withdraw it.
            hints["wait"] = self._wait
        return hints

    def _learn(
        self,
        claimed: Sequence[models.Claimed],
        tasks: int,
        workflows: int,
        hints: Mapping[str, Any],
        started: float,
    ) -> None:
        """What a claim says about when and where to claim next."""
        now = time.monotonic()
        taken = sum(one.kind == "task" for one in claimed)
        is_full_scan = "marks" not in hints
        self._poll_at = now + self._poll_interval
        if workflows:
            self._holds_back = hints.get("fresh") == 0
        self._marks.learn(claimed, is_full_scan=is_full_scan, at=now, took=now - started)
        if tasks:
            may_jump = taken < tasks or all(map(_has_not_waited, claimed))
            self._direct_until = now + _DIRECT_SECONDS if may_jump else 0.0
        # A short claim has emptied the queues, as far as its marks let it see.
        has_more_tasks = taken == tasks > 0
        has_more_workflows = len(claimed) - taken == workflows > 0
        self._wants_tasks |= has_more_tasks
        self._wants_workflows |= has_more_workflows
        if claimed:
            self._nap = _SHORTEST_NAP
            self._declare_at = now + _LINGER
            # Queues take turns: those that gave something come last next time.
            served = {one.queue for one in claimed}
            self._queues.sort(key=served.__contains__)
            if not self._is_declared():
                self._recent_wakes.append(now)
        elif self._is_declared() and not is_full_scan and self._marks.forget(now):
            # Something was announced that stands before the marks.
            self._wants_tasks = self._wants_workflows = True
        self._empty_until = 0.0 if claimed else now + _LINGER
        if not claimed and "wait" in hints:
            self._declared_until = now + min(self._wait, 3600) / 2
        elif self._is_declared() and (
            "wait" not in hints
            or has_more_tasks
            or has_more_workflows
            # Steps make work for this worker, and what it makes need not be announced to it.
            or any(one.kind == "workflow" or one.parent_id is not None for one in claimed)
        ):
            # The next claim withdraws it.
            self._declared_until = 0.0
            self._tick_at = min(self._tick_at, now + _TICK_INTERVAL)

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

    def _settle_accepted(self) -> None:
        accepted, self._accepted = self._accepted, []
        for report in accepted:
            self._worker.settled(report, models.Word.ACCEPTED)

    def _settle(self, report: Report, word: models.Word) -> None:
        if word is models.Word.BUSY:
            self._postponed[report.token] = report
            asyncio.get_running_loop().call_later(_BUSY_PAUSE, self._send_again, report.token)
            return
        self._beats.pop(report.token, None)
        if isinstance(report, models.Failure | models.Activation | models.Step):
            # It may have left something that is due before the next round of maintenance.
            self._tick_at = min(self._tick_at, time.monotonic() + _TICK_INTERVAL)
        elif word is models.Word.ACCEPTED:
            # Nothing follows from it. The next exchange goes out before that is written down.
            if not self._accepted:
                asyncio.get_running_loop().call_soon(self._settle_accepted)
            self._accepted.append(report)
            return
        self._worker.settled(report, word)

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

    # --- Maintenance ----------------------------------------------------------------------

    @property
    def _maintain_at(self) -> float:
        return min(self._tick_at, self._recover_at)

    async def _tick(self, *, is_busy: bool) -> None:
        """The rounds of maintenance whose time has come, and when the next ones are due."""
        assert self._connection is not None
        now = time.monotonic()
        if now >= self._recover_at:
            result = await database.run(self._connection, database.tick("recover"))
            if not result.more:
                self._recover_at = now + self._recover_interval
        if now < self._tick_at:
            return
        # What is announced meanwhile may have come too late for it.
        self._tick_at = math.inf
        result = await database.run(self._connection, database.tick("due"))
        if result.done:
            self._wants_tasks = self._wants_workflows = True
        if self._is_declared():
            rest = _TOLD_TICK_INTERVAL
        else:
            rest = _TICK_INTERVAL if is_busy else self._poll_interval
        if result.next_due_in is not None:
            rest = min(rest, max(result.next_due_in.total_seconds(), 0.001))
        self._tick_at = min(self._tick_at, time.monotonic() + (0 if result.more else rest))

    # --- The connection -------------------------------------------------------------------

    async def _open(self) -> None:
        if self._connection is None or self._connection.closed:
            self._connection = await self._connect()
        await self._register()
        self.is_registered = True
        # Before the first claim: deadlines of what began after a gap in the ticks need not wait.
        self._tick_at = 0.0
        await self._tick(is_busy=True)
        self._declared_until = 0.0
        self._wants_tasks = self._wants_workflows = True

    async def _register(self) -> None:
        """Make this worker known, and find what it holds according to the database."""
        assert self._connection is not None
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
        self._outbox.extend(self._postponed.values())
        self._postponed.clear()
        while self._outbox:
            report = self._outbox.popleft()
            if isinstance(report, models.Step):
                for completion in report.completions:
                    self._settle(completion, models.Word.LOST)
            self._settle(report, models.Word.LOST)
        for token in list(self._worker.held()):
            self._worker.lost(token)
        await database.run(self._connection, database.register_worker(self._registration(new)))
        self.worker_id = new
        self._declared_until = 0.0

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


def _has_not_waited(one: models.Claimed) -> bool:
    """Whether nothing is likely to wait that would come before the next step of a workflow."""
    waited = (one.claimed_at - one.created_at).total_seconds()
    return one.kind == "workflow" or (one.parent_id is not None and waited < _DIRECT_SECONDS)

"""Activations of workflows: claimed ones are run in threads, and their commits reported.

An activation takes a workflow's new events, applies them one by one, and reports the commands they
caused. The instance stays in memory for the next one, which then needs no replay; that is a cache
and nothing more. Workflow code has no business to take long; one that does is watched, its stack is
logged, in the end it is interrupted, and meanwhile the others go on in further threads.
"""

import asyncio
import logging
import time
from collections import OrderedDict, deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final, Protocol
from uuid import UUID

import msgspec
import psycopg

from currant import database, definitions, failures, models
from currant.activation import RunningActivation, blocked_activation, first_event
from currant.connections import Source
from currant.models import Report
from currant.reports import worker_needed
from currant.settings import Settings
from currant.threads import Threads
from currant.workflow.history import Command, Entry
from currant.workflow.instance import Instance

_LOG = logging.getLogger("currant")

_MOST_THREADS: Final = 8
# So many threads whose code does not come back are left to themselves; then the process has to go.
_MOST_HUNG: Final = 64
# Seconds between two looks at what is running, and after which another thread takes over the rest.
_LOOK_INTERVAL: Final = 0.05
_TAKE_OVER_AFTER: Final = 0.1
# Seconds that interrupted code has to come to an end.
_INTERRUPT_GRACE: Final = 2.0
_MOST_REASONS: Final = 1000
# Seconds before workflows are given back whose history could not be read.
_READ_PAUSE: Final = 1.0


class Host(Protocol):
    """What running activations needs of its worker."""

    max_payload_bytes: int

    def activated(self, report: Report) -> None:
        """An activation is over; the database is to be told."""

    def history(self, run: models.Claimed) -> database.Call[Sequence[Entry]]:
        """How the history of a run is read."""

    def keeps(self, instance: Instance) -> bool:
        """Whether a run stays in memory until it goes on, and is not replayed then."""


class Activations:
    """Runs claimed workflows, each from its claim to its report."""

    def __init__(
        self,
        host: Host,
        settings: Settings,
        source: Source,
        functions: definitions.Registry = definitions.registry,
    ) -> None:
        self._host = host
        self._functions = functions
        self._settings = settings
        # Without a cache every wake-up is a replay, which is what tests of workflows want.
        self._is_strict = settings.worker_strict_replay
        self._source = source
        self._threads = Threads("currant-workflow")
        self._cache: OrderedDict[UUID, Instance] = OrderedDict()
        self._blocked: OrderedDict[UUID, str] = OrderedDict()  # reasons that have been logged
        self._waiting: deque[RunningActivation] = deque()
        self._running: dict[int, RunningActivation] = {}
        self._finished: deque[tuple[RunningActivation, models.Activation]] = deque()
        self._committing: dict[int, RunningActivation] = {}
        self._active: dict[int, models.Claimed] = {}
        self._drainers = 0  # threads at work, without those that were given up
        self._drains: set[asyncio.Future[bool]] = set()  # of every thread that has not come back
        self._hung = 0  # threads that were given up and have not come back
        self._is_flush_due = False
        self._closing: deque[Instance] = deque()
        self._being_closed: dict[int, tuple[Instance, float]] = {}
        self._reader: psycopg.AsyncConnection[Any] | None = None
        self._reading = asyncio.Lock()
        self._fetches: set[asyncio.Task[None]] = set()
        self._watcher: asyncio.Task[None] | None = None
        self._loop = asyncio.get_running_loop()

    @property
    def active(self) -> dict[int, models.Claimed]:
        """Token and claim of every activation that has not been answered."""
        return self._active

    @property
    def hung(self) -> int:
        """How many threads hang, if they are so many that only a new process helps."""
        return self._hung if self._hung > _MOST_HUNG else 0

    def start(self, claimed: Sequence[models.Claimed]) -> None:
        """Run these; `Host.activated` is called for each."""
        replays: list[RunningActivation] = []
        for one in claimed:
            self._active[one.token] = one
            function = self._functions.get(one.function)
            if needed := worker_needed(one, function):
                self._host.activated(models.Release(one.execution_id, one.token, needed))
                continue
            instance = self._cache.pop(one.execution_id, None)
            if instance is not None and (
                instance.last_event != one.last_event
                or instance.run.first_event != first_event(one)
            ):
                self._close(instance)
                instance = None
            job = RunningActivation(one, function, instance)
            (replays if job.replays else self._waiting).append(job)
        if replays:
            fetch = self._loop.create_task(self._fetch(replays))
            self._fetches.add(fetch)
            fetch.add_done_callback(self._fetches.discard)
        self._drain()

    def settled(self, report: Report, word: models.Word) -> None:
        """The database has answered an activation."""
        claimed = self._active.pop(report.token, None)
        job = self._committing.pop(report.token, None)
        reason = report.blocked if isinstance(report, models.Activation) else None
        if claimed is not None and word is models.Word.ACCEPTED:
            self._log(claimed, job.end if job else None, reason)
        if job is None or job.instance is None:
            return
        is_kept = word in (models.Word.ACCEPTED, models.Word.ALREADY) and reason is None
        if is_kept and job.end is None and self._host.keeps(job.instance):
            self._cache[report.execution_id] = job.instance
            if len(self._cache) > self._settings.worker_workflow_cache:
                self._close(self._cache.popitem(last=False)[1])
        else:
            self._close(job.instance)
        self._drain()

    def _log(self, claimed: models.Claimed, end: Command | None, reason: str | None) -> None:
        """One line when a run of a workflow ends, and one each time that it is blocked anew."""
        if reason is None:
            self._blocked.pop(claimed.execution_id, None)
        elif self._blocked.get(claimed.execution_id) != reason:
            self._blocked[claimed.execution_id] = reason
            _LOG.error("%s %s is blocked: %s", claimed.function, claimed.execution_id, reason)
            if len(self._blocked) > _MOST_REASONS:
                self._blocked.popitem(last=False)
        if end is None:
            return
        name = f"{claimed.function} {claimed.execution_id}"
        if claimed.parent_id is not None:
            name += f" (child of {claimed.parent_id})"
        match end.kind:
            case "complete":
                _LOG.info("completed %s", name)
            case "cancelled":
                _LOG.info("cancelled %s", name)
            case "continue_as_new":
                _LOG.info("continued %s as new", name)
            case _:
                error = msgspec.json.decode(end.payload or "{}").get("error", {})
                _LOG.warning("failed %s: %s", name, failures.in_short(error))

    def lost(self, token: int) -> None:
        """The lease is another's: what is being computed for it will be refused."""
        self._active.pop(token, None)

    async def close(self) -> None:
        """Close what is in memory, as far as it lets itself be closed."""
        for fetch in list(self._fetches):
            fetch.cancel()
        # Threads take from what waits, too, and what they have at hand is theirs until they end.
        unanswered: list[RunningActivation] = []
        with suppress(IndexError):
            while True:
                unanswered.append(self._waiting.popleft())
        if self._drainers:
            await asyncio.wait(self._drains, timeout=self._settings.worker_deadlock_warning)
        while self._cache:
            self._closing.append(self._cache.popitem()[1])
        # What was computed and has not been answered is lost with the process as well.
        unanswered += [*self._committing.values(), *(job for job, _ in self._finished)]
        self._closing += [job.instance for job in unanswered if job.instance is not None]
        self._committing.clear()
        self._finished.clear()
        if self._watcher is not None:
            self._watcher.cancel()

        def close_all() -> None:
            with suppress(IndexError):
                while True:
                    _close_now(self._closing.popleft())

        try:
            async with asyncio.timeout(self._settings.worker_deadlock_warning):
                await self._threads.run(close_all)
        except TimeoutError:
            _LOG.warning("some workflow code did not let itself be closed")
        if self._reader is not None:
            await self._reader.close()

    # --- Replays --------------------------------------------------------------------------

    async def _fetch(self, jobs: list[RunningActivation]) -> None:
        """Read the histories in one round trip; without them the leases are given back."""
        try:
            histories = await self._read([job.claimed for job in jobs])
        except Exception as error:
            _LOG.warning("cannot read the history of %d workflows: %s", len(jobs), error)
            for job in jobs:
                release = models.Release(job.claimed.execution_id, job.claimed.token)
                # Not at once: this worker might be the one to claim them again.
                self._loop.call_later(_READ_PAUSE, self._host.activated, release)
            return
        for job, history in zip(jobs, histories, strict=True):
            # Somebody else has advanced it if there is more; then the commit will be refused.
            job.history = history
            self._waiting.append(job)
        self._drain()

    async def _read(self, runs: Sequence[models.Claimed]) -> list[Sequence[Entry]]:
        async with self._reading:
            if self._reader is None or self._reader.closed:
                self._reader = await self._source.open()
            try:
                return await database.exchange(
                    self._reader,
                    [self._host.history(one) for one in runs],
                )
            except BaseException:
                await self._reader.close()
                raise

    # --- Threads --------------------------------------------------------------------------

    @property
    def _is_more_to_do(self) -> bool:
        return bool(self._waiting or self._closing)

    def _drain(self) -> None:
        """See to it that a thread is at work on what waits."""
        if self._is_more_to_do and self._drainers == 0:
            self._add_drainer()

    def _add_drainer(self) -> None:
        self._drainers += 1
        drain = self._threads.run(self._work)
        self._drains.add(drain)
        drain.add_done_callback(self._drainer_ended)
        if self._watcher is None or self._watcher.done():
            self._watcher = self._loop.create_task(self._watch())

    def _drainer_ended(self, ended: "asyncio.Future[bool]") -> None:
        self._drains.discard(ended)
        if ended.result():
            self._drainers -= 1
        else:
            self._hung -= 1
        self._drain()

    def _work(self) -> bool:
        """In a thread: one activation after the other, until none waits.

        Returns:
            Whether it is done; False: it was given up meanwhile, and another has taken its place.
        """
        while True:
            try:
                job = self._waiting.popleft()
            except IndexError:
                break
            job.started = time.monotonic()
            self._running[job.claimed.token] = job
            activation = job.run(self._host.max_payload_bytes, strict=self._is_strict)
            # Whoever takes it out, this thread or the one that gives it up, has the say.
            if self._running.pop(job.claimed.token, None) is None:
                if job.instance is not None:
                    _close_now(job.instance)
                return False
            self._finished.append((job, activation))
            if not self._is_flush_due:
                self._is_flush_due = True
                self._loop.call_soon_threadsafe(self._flush)
        while True:
            try:
                instance = self._closing.popleft()
            except IndexError:
                return True
            self._being_closed[id(instance)] = (instance, time.monotonic())
            _close_now(instance)
            if self._being_closed.pop(id(instance), None) is None:
                return False

    def _flush(self) -> None:
        self._is_flush_due = False
        while self._finished:
            job, activation = self._finished.popleft()
            self._committing[activation.token] = job
            self._host.activated(activation)

    def _close(self, instance: Instance) -> None:
        self._closing.append(instance)

    async def _watch(self) -> None:
        """While threads are at work: help those that wait, and stop what does not end."""
        while self._drainers:
            await asyncio.sleep(_LOOK_INTERVAL)
            now = time.monotonic()
            slow = [
                job for job in list(self._running.values()) if now - job.started > _TAKE_OVER_AFTER
            ]
            closings = [
                (closing, now - since) for closing, since in list(self._being_closed.values())
            ]
            slow_closings = sum(took > _TAKE_OVER_AFTER for _, took in closings)
            is_all_slow = len(slow) + slow_closings >= self._drainers
            if is_all_slow and self._drainers < _MOST_THREADS and self._is_more_to_do:
                self._add_drainer()
            for closing, took in closings:
                self._stop_closing(closing, took)
            for job in slow:
                # Code runs only once there is an instance.
                if job.instance is not None:
                    self._stop_running(job, job.instance, now - job.started)

    def _stop_running(self, job: RunningActivation, instance: Instance, took: float) -> None:
        name = f"{job.claimed.function} {job.claimed.execution_id}"
        limit = self._settings.worker_deadlock_timeout
        if took > self._settings.worker_deadlock_warning and not job.warned:
            job.warned = True
            stack = instance.stack().rstrip()
            _LOG.warning("%s has not given way for %.1f s:\n%s", name, took, stack)
        if took <= limit:
            return
        stack = instance.stack()
        instance.interrupt()
        if took - limit < _INTERRUPT_GRACE or self._running.pop(job.claimed.token, None) is None:
            return
        reason = f"the workflow's code blocked and could not be stopped; it was at\n{stack}"
        self._host.activated(blocked_activation(job.claimed, failures.storable(reason)))
        self._give_up(name)

    def _stop_closing(self, instance: Instance, took: float) -> None:
        limit = self._settings.worker_deadlock_timeout
        if took <= limit:
            return
        instance.interrupt()
        if took - limit < _INTERRUPT_GRACE or self._being_closed.pop(id(instance), None) is None:
            return
        self._give_up(f"{instance.run.function} {instance.run.id}, while it was to clean up,")

    def _give_up(self, name: str) -> None:
        """Leave a thread to itself whose code blocks outside Python."""
        self._drainers -= 1
        self._hung += 1
        _LOG.error(
            "%s blocks where it cannot be stopped: its thread is given up (%d so far)",
            name,
            self._hung,
        )
        self._drain()


def _close_now(instance: Instance) -> None:
    try:
        instance.close()
    except BaseException:
        _LOG.exception("%s %s could not be closed", instance.run.function, instance.run.id)

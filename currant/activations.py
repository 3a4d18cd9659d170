"""Activations of workflows: claimed ones are run in threads, and their commits reported.

An activation takes a workflow's new events, applies them one by one, and reports the commands they
caused. The instance stays in memory for the next one, which then needs no replay; that is a cache
and nothing more. It also lets the workflow go on with a result before that is stored: `StepsAhead`.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, Protocol, cast
from uuid import UUID

import psycopg

from currant import database, definitions, failures, models
from currant.activation import (
    Ahead,
    RunningActivation,
    blocked_activation,
    first_event,
    log_end,
)
from currant.connections import Source
from currant.instances import Instances
from currant.loglines import Lines
from currant.models import Report
from currant.reports import worker_needed
from currant.settings import Settings
from currant.steps_ahead import StepsAhead
from currant.workflow.history import Command, Entry
from currant.workflow.instance import Instance
from currant.workflow_threads import Job, Outcome, WorkflowThreads

_LOG = logging.getLogger("currant")

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
        lines: Lines,
        functions: definitions.Registry = definitions.registry,
    ) -> None:
        self._host = host
        self._functions = functions
        # Without a cache every wake-up is a replay, which is what tests of workflows want.
        self._is_strict = settings.worker_strict_replay
        self._source = source
        self._loop = asyncio.get_running_loop()
        self._threads = WorkflowThreads(self, settings)
        self._instances = Instances(settings.worker_workflow_cache, host.keeps, self._threads)
        self._steps = StepsAhead(
            host.activated, self._instances, self._threads, self._loop.call_soon, lines
        )
        self._lines = lines
        self._blocked: OrderedDict[UUID, str] = OrderedDict()  # reasons that have been logged
        self._committing: dict[int, RunningActivation] = {}
        self._active: dict[int, models.Claimed] = {}
        self._reader: psycopg.AsyncConnection[Any] | None = None
        self._reading = asyncio.Lock()
        self._fetches: set[asyncio.Task[None]] = set()

    @property
    def active(self) -> dict[int, models.Claimed]:
        """Token and claim of every activation that has not been answered."""
        return self._active

    @property
    def is_busy(self) -> bool:
        """Whether anything has been begun that has not been answered."""
        return bool(self._active or self._steps)

    @property
    def hung(self) -> int:
        """How many threads hang, if they are so many that only a new process helps."""
        return self._threads.hung

    @property
    def steps_under_way(self) -> int:
        """How many steps are being computed."""
        return self._steps.under_way

    @property
    def completing(self) -> dict[int, UUID]:
        """Token and execution of each completion that a workflow goes on with ahead."""
        return self._steps.completing

    def start(self, claimed: Sequence[models.Claimed]) -> None:
        """Run these; `Host.activated` is called for each."""
        replays: list[RunningActivation] = []
        for one in claimed:
            self._active[one.token] = one
            function = self._functions.get(one.function)
            if needed := worker_needed(one, function):
                self._host.activated(models.Release(one.execution_id, one.token, needed))
                continue
            instance = self._instances.take(one.execution_id)
            if instance is not None and (
                instance.last_event != one.last_event
                or instance.run.first_event != first_event(one)
            ):
                self._instances.close(instance)
                instance = None
            job = RunningActivation(one, function, instance)
            if job.replays:
                replays.append(job)
            else:
                self._threads.put(job)
        if replays:
            fetch = self._loop.create_task(self._fetch(replays))
            self._fetches.add(fetch)
            fetch.add_done_callback(self._fetches.discard)
        self._threads.drain()

    def step(self, completion: models.Completion, claimed: models.Claimed, at: datetime) -> bool:
        """Go on with the workflow that waits for a task, if it is in memory and nothing else is
        known to have happened to it; `Host.activated` is then called for both at once.

        Args:
            at: now, by the database's clock; rather too early than too late.

        Returns:
            Whether the completion is taken care of.
        """
        return self._steps.take(completion, claimed, at)

    def stop_steps(self) -> None:
        """From now on completions go alone; `Host.activated` is called for those at hand."""
        self._steps.stop()

    def settled(self, report: Report, word: models.Word) -> None:
        """The database has answered an activation or a step."""
        if self._steps.settled(report.token, word):
            return
        claimed = self._active.pop(report.token, None)
        job = self._committing.pop(report.token, None)
        reason = report.blocked if isinstance(report, models.Activation) else None
        # Already: it was stored, and the answer to that was lost.
        is_stored = word in (models.Word.ACCEPTED, models.Word.ALREADY)
        if claimed is not None and is_stored:
            self._log(claimed, job.end if job else None, reason)
        if job is None or job.instance is None:
            return
        if is_stored and reason is None and job.end is None:
            self._instances.park(job.instance)
        else:
            self._instances.close(job.instance)

    def _log(self, claimed: models.Claimed, end: Command | None, reason: str | None) -> None:
        """One line when a run of a workflow ends, and one each time that it is blocked anew."""
        if reason is None:
            self._blocked.pop(claimed.execution_id, None)
        elif self._blocked.get(claimed.execution_id) != reason:
            self._blocked[claimed.execution_id] = reason
            _LOG.error("%s %s is blocked: %s", claimed.function, claimed.execution_id, reason)
            if len(self._blocked) > _MOST_REASONS:
                self._blocked.popitem(last=False)
        log_end(claimed.function, claimed.execution_id, claimed.parent_id, end, self._lines)

    def lost(self, token: int) -> None:
        """The lease is another's: what is being computed for it will be refused."""
        self._active.pop(token, None)

    async def close(self) -> None:
        """Close what is in memory, as far as it lets itself be closed."""
        for fetch in list(self._fetches):
            fetch.cancel()
        await self._threads.stop()
        self._instances.close_all()
        # What was computed and has not been answered is lost with the process as well.
        for job in self._committing.values():
            if job.instance is not None:
                self._threads.close(job.instance)
        self._committing.clear()
        self._steps.forget()
        await self._threads.close_all()
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
            self._threads.put(job)
        self._threads.drain()

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

    # --- For the threads ------------------------------------------------------------------

    def run(self, job: Job) -> Outcome:
        """Run it; in a thread."""
        if isinstance(job, Ahead):
            return job.run()
        return job.run(self._host.max_payload_bytes, strict=self._is_strict)

    def finished(self, job: Job, outcome: Outcome) -> None:
        """It has come out of its thread."""
        if isinstance(job, Ahead):
            self._steps.computed(job, cast("models.Step | None", outcome))
        else:
            self._committing[job.token] = job
            self._host.activated(cast(models.Activation, outcome))

    def stuck(self, job: Job, reason: str) -> None:
        """It will not. (The completions of a step have been reported long ago.)"""
        if isinstance(job, RunningActivation):
            self._host.activated(blocked_activation(job.claimed, failures.storable(reason)))

    def looked(self, now: float) -> None:
        """Time passes while they are at work."""
        self._steps.give_up_late(now)

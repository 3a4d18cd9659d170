"""Threads for the code of workflows, and a watch on them.

Workflow code has no business to take long, so one thread runs what waits, one job after the other.
Code that takes long is watched: further threads take over the rest, its stack is logged, in the end
it is interrupted, and a thread in which it cannot be is left to itself.
"""

import asyncio
import logging
import time
from collections import deque
from contextlib import suppress
from typing import Final, Protocol

from currant import models
from currant.activation import Ahead, RunningActivation
from currant.settings import Settings
from currant.threads import Threads
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

Job = RunningActivation | Ahead
Outcome = models.Activation | models.Step | None


class Master(Protocol):
    """Whose jobs they are. All other calls than `run` come from the event loop."""

    def run(self, job: Job) -> Outcome:
        """Run a job; in a thread. Raises nothing."""

    def finished(self, job: Job, outcome: Outcome) -> None:
        """A job has come to an end."""

    def stuck(self, job: Job, reason: str) -> None:
        """A job does not come to an end; nothing more will be heard of it."""

    def looked(self, now: float) -> None:
        """While there is anything to do, time passes."""


class WorkflowThreads:
    """Runs jobs, and closes instances, in threads."""

    def __init__(self, master: Master, settings: Settings) -> None:
        self._master = master
        self._settings = settings
        self._threads = Threads("currant-workflow")
        self._waiting: deque[Job] = deque()
        self._running: dict[int, Job] = {}
        self._finished: deque[tuple[Job, Outcome]] = deque()
        self._closing: deque[Instance] = deque()
        self._being_closed: dict[int, tuple[Instance, float]] = {}
        self._drainers = 0  # threads at work, without those that were given up
        self._drains: set[asyncio.Future[bool]] = set()  # of every thread that has not come back
        self._hung = 0  # threads that were given up and have not come back
        self._is_flush_due = False
        self._is_drain_due = False
        self._watcher: asyncio.Task[None] | None = None
        self._loop = asyncio.get_running_loop()

    @property
    def hung(self) -> int:
        """How many threads hang, if they are so many that only a new process helps."""
        return self._hung if self._hung > _MOST_HUNG else 0

    def put(self, job: Job) -> None:
        """Have it run, once a thread is at work."""
        self._waiting.append(job)

    def close(self, instance: Instance) -> None:
        """Have it closed, once a thread is at work."""
        self._closing.append(instance)

    def drain(self) -> None:
        """See to it that a thread is at work on what waits."""
        if self._is_more_to_do and self._drainers == 0:
            self._add_drainer()

    def drain_soon(self) -> None:
        """The same at the end of this turn of the loop, with all that it has brought until then."""
        if not self._is_drain_due:
            self._is_drain_due = True
            self._loop.call_soon(self._drain_now)

    async def stop(self) -> None:
        """Let what runs come to an end, if it does so soon; begin nothing more."""
        # Threads take from what waits, too, and what they have at hand is theirs until they end.
        left: list[Job] = []
        with suppress(IndexError):
            while True:
                left.append(self._waiting.popleft())
        if self._drainers:
            await asyncio.wait(self._drains, timeout=self._settings.worker_deadlock_warning)
        left += [job for job, _ in self._finished]
        self._finished.clear()
        self._closing += [job.instance for job in left if job.instance is not None]
        if self._watcher is not None:
            self._watcher.cancel()

    async def close_all(self) -> None:
        """Close what is to be closed, as far as it lets itself be closed."""

        def close_all() -> None:
            with suppress(IndexError):
                while True:
                    _close_now(self._closing.popleft())

        try:
            async with asyncio.timeout(self._settings.worker_deadlock_warning):
                await self._threads.run(close_all)
        except TimeoutError:
            _LOG.warning("some workflow code did not let itself be closed")

    # --- At work --------------------------------------------------------------------------

    @property
    def _is_more_to_do(self) -> bool:
        return bool(self._waiting or self._closing)

    def _drain_now(self) -> None:
        self._is_drain_due = False
        self.drain()

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
        self.drain()

    def _work(self) -> bool:
        """In a thread: one job after the other, until none waits.

        Returns:
            Whether it is done; False: it was given up meanwhile, and another has taken its place.
        """
        while True:
            try:
                job = self._waiting.popleft()
            except IndexError:
                break
            job.started = time.monotonic()
            self._running[job.token] = job
            outcome = self._master.run(job)
            # Whoever takes it out, this thread or the one that gives it up, has the say.
            if self._running.pop(job.token, None) is None:
                if job.instance is not None:
                    _close_now(job.instance)
                return False
            self._finished.append((job, outcome))
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
            self._master.finished(*self._finished.popleft())

    # --- The watch ------------------------------------------------------------------------

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
            self._master.looked(now)

    def _stop_running(self, job: Job, instance: Instance, took: float) -> None:
        name = job.name
        limit = self._settings.worker_deadlock_timeout
        if took > self._settings.worker_deadlock_warning and not job.warned:
            job.warned = True
            stack = instance.stack().rstrip()
            _LOG.warning("%s has not given way for %.1f s:\n%s", name, took, stack)
        if took <= limit:
            return
        stack = instance.stack()
        instance.interrupt()
        if took - limit < _INTERRUPT_GRACE or self._running.pop(job.token, None) is None:
            return
        self._master.stuck(
            job, f"the workflow's code blocked and could not be stopped; it was at\n{stack}"
        )
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
        self.drain()


def _close_now(instance: Instance) -> None:
    try:
        instance.close()
    except BaseException:
        _LOG.exception("%s %s could not be closed", instance.run.function, instance.run.id)

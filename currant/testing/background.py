"""A worker in a thread of its own, with an event loop of its own."""

import asyncio
import threading
import time
from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from currant import database, definitions, models
from currant.activation import first_event
from currant.database import virtual
from currant.executor import RunningTask
from currant.models import Report
from currant.settings import Settings
from currant.testing.errors import KitError, Stalled
from currant.worker import Worker
from currant.workflow.history import Entry
from currant.workflow.instance import Instance

_STOP_SECONDS: Final = 10.0
# Up to so many events a workflow is replayed whenever it goes on, and from then on when its history
# has grown by such a part.
_SHORT: Final = 100
_GROWTH: Final = 0.1


class _Watched(Worker):
    """A worker that tells whenever something has happened."""

    def __init__(
        self,
        settings: Settings,
        *,
        queues: Sequence[str],
        functions: definitions.Registry,
        clock: Callable[[], datetime],
        stir: Callable[[], None],
    ) -> None:
        super().__init__(settings, queues=queues, functions=functions)
        self._clock = clock
        self.is_up = threading.Event()
        self._replayed: dict[UUID, int] = {}
        self._stir = stir

    def free_slots(self) -> tuple[int, int]:
        # Asked for the first time when it is registered.
        self.is_up.set()
        return super().free_slots()

    def start(self, claimed: Sequence[models.Claimed]) -> None:
        super().start(claimed)
        self._stir()

    def settled(self, report: Report, word: models.Word) -> None:
        super().settled(report, word)
        self._stir()

    def ended(self, running: RunningTask, report: Report | None) -> None:
        super().ended(running, report)
        self._stir()

    def lend_slot(self, slots: int) -> None:
        super().lend_slot(slots)
        self._stir()

    def database_time(self, running: RunningTask) -> datetime:
        return self._clock()

    def history(self, run: models.Claimed) -> database.Call[Sequence[Entry]]:
        return virtual.history(run.execution_id, first_event(run) - 1)

    def keeps(self, instance: Instance) -> bool:
        if not self.settings.worker_strict_replay:
            return True
        # All replays of a run of n events would read n * n events; so they do not get out of hand.
        run, come = instance.run.id, instance.last_event
        grown = come - self._replayed.get(run, 0)
        if come > _SHORT and 0 <= grown < come * _GROWTH:
            return True
        self._replayed[run] = come
        return False

    def look(self, queues: Collection[str]) -> None:
        """Claim, from these queues too."""
        self._engine.serve(queues)

    async def run(self) -> int:
        try:
            return await super().run()
        finally:
            # Its connection is not to outlive the database.
            await asyncio.to_thread(self._heartbeat.join, _STOP_SECONDS)

    def waiting(self) -> set[UUID]:
        """The executions whose task waits for another execution."""
        return {one.claimed.execution_id for one in list(self._tasks.values()) if one.waits}

    def doing(self) -> list[str]:
        """What runs, in words."""
        now = time.monotonic()
        words = [
            f"task {one.claimed.function} {one.claimed.execution_id}"
            f" (attempt {one.claimed.attempt}, for {now - one.started:.1f} s)"
            for one in list(self._tasks.values())
        ]
        active = self._activations.active.values()
        words += [f"workflow {one.function} {one.execution_id}" for one in list(active)]
        return words


class Background:
    """Runs a worker from `start` until `stop`."""

    def __init__(self, settings: Settings, queues: Sequence[str]) -> None:
        self._settings = settings
        self._queues = queues
        self._stirred = threading.Event()
        self.stirs = 0
        self._failure: BaseException | None = None
        self._has_ended = threading.Event()
        self._is_stopping = False
        self._worker: _Watched | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._main, name="currant-testing", daemon=True)

    def start(
        self, functions: definitions.Registry, clock: Callable[[], datetime], patience: float
    ) -> None:
        """Start it, and wait until it takes work.

        Args:
            functions: what it runs.
            clock: where the database's clock stands.
            patience: for so many real seconds.

        Raises:
            Exception: whatever kept the worker from starting.
        """
        worker = self._worker = _Watched(
            self._settings,
            queues=self._queues,
            functions=functions,
            clock=clock,
            stir=self.stir,
        )
        self._thread.start()
        deadline = time.monotonic() + patience
        while not worker.is_up.wait(0.001 if self._has_ended.is_set() else 0.05):
            self.check()
            if time.monotonic() > deadline:
                raise Stalled(f"the worker was not ready after {patience:g} s")

    def stir(self) -> None:
        """Something has happened. Callable from any thread."""
        self.stirs += 1
        self._stirred.set()

    def wait(self, seconds: float) -> None:
        """Wait for something to happen, so long at most."""
        self._stirred.wait(seconds)
        self._stirred.clear()

    def check(self) -> None:
        """Raise what ended the worker, if it has ended."""
        if not self._has_ended.is_set() or self._is_stopping:
            return
        if self._failure is not None:
            raise self._failure
        raise KitError("the worker has stopped by itself", hint="its log says why")

    def look(self, queues: Collection[str]) -> None:
        """Have it claim now, from these queues too."""
        self._post(lambda worker: worker.look(queues))

    def beat(self) -> None:
        """Have it hear soon which leases it has lost."""
        self._post(lambda worker: worker.beat_soon())

    def waiting(self) -> set[UUID]:
        """The executions whose task waits for another execution."""
        return set() if self._worker is None else self._worker.waiting()

    def doing(self) -> list[str]:
        """What runs, in words."""
        return [] if self._worker is None else self._worker.doing()

    def stop(self) -> None:
        """Stop it at once.

        Raises:
            Exception: what had ended the worker before.
            Stalled: something in it does not stop.
        """
        self.check()
        self._is_stopping = True
        for _ in range(2):  # the second time: do not wait for what runs
            self._post(lambda worker: worker.stop())
        self._thread.join(_STOP_SECONDS)
        if self._thread.is_alive():
            raise Stalled(
                f"the worker did not stop within {_STOP_SECONDS:g} s",
                detail="; ".join(self.doing()),
                hint="a task does not stop when it is cancelled",
            )
        if self._failure is not None:
            raise self._failure

    def _post(self, function: Callable[[_Watched], None]) -> None:
        worker, loop = self._worker, self._loop
        if worker is None or loop is None:
            return
        try:
            loop.call_soon_threadsafe(function, worker)
        except RuntimeError:  # it is closed
            return

    def _main(self) -> None:
        try:
            asyncio.run(self._run())
        except BaseException as error:
            self._failure = error
        finally:
            self._has_ended.set()
            self.stir()

    async def _run(self) -> None:
        assert self._worker is not None
        self._loop = asyncio.get_running_loop()
        await self._worker.run()

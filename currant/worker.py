"""The worker process: takes work, runs it, reports it, stays alive, and goes in order.

It puts the parts together: the engine (exchange with the database), the executor (tasks), the
activations (workflows), the heartbeat and the listener. It keeps the slots and the leases.
"""

import asyncio
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final
from uuid import UUID

import psycopg

from currant import database, definitions, models
from currant.activation import first_event
from currant.activations import Activations
from currant.connections import Source
from currant.engine import Engine
from currant.executor import Executor, RunningTask, Stop, log_task
from currant.listener import Listener
from currant.loglines import Lines
from currant.models import Report
from currant.pulse import Heartbeat
from currant.settings import Settings
from currant.supervisor import supervise
from currant.workflow.history import Entry
from currant.workflow.instance import Instance
from currant.workflow.logs import silence_replays

_LOG = logging.getLogger("currant")

# Seconds that cancelled tasks have to clean up, and that the last reports have to arrive.
_CLEANUP_GRACE: Final = 5.0


class Worker:
    """One worker: `run` it on an event loop of its own.

    Args:
        settings: where the database is, how many tasks at a time, how often to beat and poll.
        queues: the names of the queues it takes work from.
        functions: what it can run.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        queues: Sequence[str],
        functions: definitions.Registry = definitions.registry,
    ) -> None:
        self.settings = settings
        self.functions = functions
        self.queues = tuple(queues)
        self.max_payload_bytes = 1 << 20
        self.has_failed = False
        self._tasks: dict[int, RunningTask] = {}
        self._ended: dict[int, RunningTask] = {}
        self._lent = 0
        self._lines = Lines()
        self._source = Source(settings, "currant worker")
        self._idle = asyncio.Event()
        self._idle.set()
        self._stop_requested = asyncio.Event()
        self._stop_now = asyncio.Event()

    async def run(self) -> int:
        """Work until stopped; the exit code of the process.

        Raises:
            CurrantError: the database refuses for good, or its schema does not fit.
        """
        self._loop = asyncio.get_running_loop()
        silence_replays()
        # The schema is checked, and a database that is not there is reported, before anything else.
        connection = await self._source.open()
        configuration = await database.run(connection, database.settings())
        self.max_payload_bytes = configuration.max_payload_bytes
        self._executor = Executor(self, self.functions)
        self._activations = Activations(
            self, self.settings, self._source, self._lines, self.functions
        )
        self._engine = Engine(
            self,
            connect=self._first(connection),
            registration=self._registration,
            queues=self.queues,
            concurrency=self.settings.worker_max_concurrent,
            poll_interval=self.settings.worker_poll_interval,
            recover_interval=min(3.0, self.settings.worker_heartbeat_timeout / 4),
        )
        self._heartbeat = Heartbeat(
            self,
            connect=self._source.open_sync,
            interval=self.settings.worker_heartbeat_interval,
        )
        # Only the main thread gets signals; elsewhere somebody else decides when to stop.
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                # Under a supervisor SIGINT is ignored: it hands on what Ctrl-C means.
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._loop.add_signal_handler(number, self.stop)
        _LOG.info(
            "worker %s: queues %s, %d tasks at a time, process %d",
            self._engine.worker_id,
            ", ".join(self.queues),
            self.settings.worker_max_concurrent,
            os.getpid(),
        )
        exchange = self._loop.create_task(self._engine.run(), name="currant exchange")
        listening = self._loop.create_task(self._listen(), name="currant listener")
        self._heartbeat.start()
        try:
            await self._until_stopped(exchange)
            await self._drain(exchange)
        finally:
            listening.cancel()
            self._heartbeat.stop()
            await self._activations.close()
            exchange.cancel()
            await asyncio.gather(exchange, listening, return_exceptions=True)
            await self._engine.deregister()
            await self._engine.close()
            self._lines.flush()
        _LOG.info("worker %s has stopped", self._engine.worker_id)
        for task in self._tasks.values():
            one = task.claimed
            _LOG.warning("%s %s did not stop when it was cancelled", one.function, one.execution_id)
        return 1 if self.has_failed else 0

    @property
    def is_stuck(self) -> bool:
        """Whether tasks are left that do not stop; only the end of the process ends them."""
        return bool(self._tasks)

    def stop(self) -> None:
        """Take nothing new and end when what runs is done; called again, end now."""
        if self._stop_requested.is_set():
            self._stop_now.set()
        self._stop_requested.set()

    def _first(self, connection: psycopg.AsyncConnection[Any]) -> Callable[[], Any]:
        """Opens connections, beginning with the one that is there already."""
        waiting = [connection]

        async def connect() -> psycopg.AsyncConnection[Any]:
            return waiting.pop() if waiting else await self._source.open()

        return connect

    def _registration(self, worker_id: UUID) -> Mapping[str, object]:
        return {
            "id": str(worker_id),
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "queues": list(self.queues),
            "concurrency": self.settings.worker_max_concurrent,
            "heartbeat_timeout": self.settings.worker_heartbeat_timeout,
            "functions": [one.declaration.as_json() for one in self.functions.all()],
        }

    async def _until_stopped(self, exchange: "asyncio.Task[None]") -> None:
        stop = self._loop.create_task(self._stop_requested.wait())
        await asyncio.wait({stop, exchange}, return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        if exchange.done():
            await exchange  # it ends by itself only with an error

    # --- Going in order -------------------------------------------------------------------

    async def _drain(self, exchange: "asyncio.Task[None]") -> None:
        """Let what runs finish, then cancel it and give it back, then send the last reports."""
        self._engine.stop_claiming()
        running = len(self._tasks)
        grace = self.settings.worker_shutdown_grace
        if running:
            _LOG.info("stopping: %d tasks have %.0f s to finish", running, grace)
        await self._until_idle(grace, self._stop_now)
        if self._tasks:
            _LOG.warning("giving back %d tasks that have not finished", len(self._tasks))
            for task in list(self._tasks.values()):
                task.tell(Stop.SHUTDOWN)
            await self._until_idle(_CLEANUP_GRACE, None)
        self._activations.stop_steps()
        self._engine.stop()
        try:
            async with asyncio.timeout(_CLEANUP_GRACE):
                await asyncio.shield(exchange)
        except TimeoutError:
            _LOG.warning("the database did not take the last reports")

    async def _until_idle(self, seconds: float, interrupted: asyncio.Event | None) -> None:
        waits = [self._loop.create_task(self._idle.wait())]
        if interrupted is not None:
            waits.append(self._loop.create_task(interrupted.wait()))
        await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()

    def _check_idle(self) -> None:
        if self._tasks or self._activations.is_busy:
            self._idle.clear()
        else:
            self._idle.set()

    def _give_up(self, hung: int, what: str) -> None:
        if not self.has_failed:
            _LOG.error("%d threads of %s hang: this worker stops, to be started again", hung, what)
            self.has_failed = True
            self.stop()

    # --- For the engine -------------------------------------------------------------------

    def free_slots(self) -> tuple[int, int]:
        """Free slots for tasks and for activations."""
        return (
            max(self.settings.worker_max_concurrent + self._lent - len(self._tasks), 0),
            max(self.settings.worker_max_activations - len(self._activations.active), 0),
        )

    def steps_under_way(self) -> int:
        """Steps that are being computed."""
        return self._activations.steps_under_way

    def start(self, claimed: Sequence[models.Claimed]) -> None:
        """Run what was claimed."""
        tasks = [RunningTask(one) for one in claimed if one.kind == "task"]
        workflows = [one for one in claimed if one.kind == "workflow"]
        if tasks:
            self._tasks.update((task.claimed.token, task) for task in tasks)
            # After the next exchange has gone out.
            self._loop.call_soon(self._executor.start_all, tasks)
        if workflows:
            self._activations.start(workflows)
        self._check_idle()

    def held(self) -> Mapping[int, UUID]:
        """Token and execution of everything that is being worked on."""
        held = {token: task.claimed.execution_id for token, task in list(self._tasks.items())}
        for token, claimed in list(self._activations.active.items()):
            held[token] = claimed.execution_id
        return held | self._activations.completing

    def lost(self, token: int) -> None:
        """Stop working on it; it is another's."""
        running = self._tasks.get(token)
        if running is not None and not running.is_committing:
            _LOG.warning(
                "lost %s %s: its lease is gone",
                running.claimed.function,
                running.claimed.execution_id,
            )
            running.tell(Stop.LOST)
        self._activations.lost(token)

    def settled(self, report: Report, word: models.Word) -> None:
        """The database has answered."""
        ended = self._ended.pop(report.token, None)
        if ended is not None:
            self._log(ended, report, word)
        else:
            self._activations.settled(report, word)
            if self._activations.hung:
                self._give_up(self._activations.hung, "workflows")
        self._check_idle()

    def _log(self, task: RunningTask, report: Report, word: models.Word) -> None:
        went_well = isinstance(report, models.Completion) and word is not models.Word.LOST
        if not went_well or self._lines.allow(f"completed {task.claimed.function}"):
            log_task(task, report, word)

    # --- For the executor -----------------------------------------------------------------

    @property
    def worker_id(self) -> UUID:
        return self._engine.worker_id

    def ended(self, running: RunningTask, report: Report | None) -> None:
        """A task is over."""
        token = running.claimed.token
        self._tasks.pop(token, None)
        if report is not None:
            self._ended[token] = running
            if not self._goes_ahead(running, report):
                self._engine.report(report, running.details)
        else:
            if running.stop is not Stop.LOST:
                # Its completion was part of its own transaction.
                completion = models.Completion(running.claimed.execution_id, token, "")
                self._log(running, completion, models.Word.ACCEPTED)
            # No report goes out that a claim could travel with.
            self._engine.nudge()
        self._check_idle()
        if self._executor.hung > self.settings.worker_max_concurrent:
            self._give_up(self._executor.hung, "sync tasks")

    def _goes_ahead(self, running: RunningTask, report: Report) -> bool:
        """Whether the completion goes together with what its workflow makes of it."""
        claimed = running.claimed
        if claimed.parent_id is None or running.details is not None:
            return False
        if not isinstance(report, models.Completion):
            return False
        return self._activations.step(report, claimed, self.database_time(running))

    def database_time(self, running: RunningTask) -> datetime:
        """Now, by the database's clock, as far as it can be told from when a task was claimed."""
        elapsed = timedelta(seconds=time.monotonic() - running.started)
        return running.claimed.claimed_at + elapsed

    def beat_soon(self) -> None:
        self._heartbeat.beat_soon()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
        """A connection of its own for one transactional task."""
        connection = await self._source.open()
        try:
            async with connection.transaction():
                yield connection
        finally:
            await connection.close()

    @contextmanager
    def transaction_sync(self) -> Iterator[psycopg.Connection[Any]]:
        """The same for a task in a thread."""
        connection = self._source.open_sync()
        try:
            with connection.transaction():
                yield connection
        finally:
            connection.close()

    def lend_slot(self, slots: int) -> None:
        """A task waits for others (1), which may run meanwhile, or goes on (-1)."""
        self._lent += slots
        self._engine.nudge()

    # --- For the activations --------------------------------------------------------------

    def activated(self, report: Report) -> None:
        """An activation is over."""
        self._engine.report(report)

    def history(self, run: models.Claimed) -> database.Call[Sequence[Entry]]:
        """How the history of a run is read."""
        return database.history(run.execution_id, first_event(run) - 1)

    def keeps(self, instance: Instance) -> bool:
        """Whether a run stays in memory until it goes on."""
        return self.settings.worker_workflow_cache > 0

    # --- For the heartbeat ----------------------------------------------------------------

    def beats(self) -> tuple[list[models.Beat], float]:
        """Everything that is held; called from the heartbeat's thread."""
        beats: list[models.Beat] = []
        latest = 0.0
        for token, task in list(self._tasks.items()):
            beats.append(models.Beat(task.claimed.execution_id, token, task.details))
            latest = max(latest, task.deadline)
        for token, claimed in list(self._activations.active.items()):
            beats.append(models.Beat(claimed.execution_id, token))
        return beats, latest

    def beaten(self, beats: Sequence[models.Beat]) -> None:
        """These have arrived; called from the heartbeat's thread."""
        for beat in beats:
            task = self._tasks.get(beat.token)
            if task is not None and task.details is beat.details:
                task.details = None

    def post(self, function: Callable[[], None]) -> None:
        """Call it on the event loop, unless that is closed."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(function)

    def attend(self, answer: models.HeartbeatAnswer) -> None:
        """The database says that a lease needs attention."""
        if answer.answer == "lost":
            self.lost(answer.token)
            return
        running = self._tasks.get(answer.token)
        if running is not None and not running.is_committing:
            running.tell(Stop.CANCEL)

    @property
    def is_registered(self) -> bool:
        return self._engine.is_registered

    def declared_dead(self) -> None:
        """A heartbeat was told that the worker is not known; it may have been an old one."""
        self._engine.doubt()

    # --- Notifications --------------------------------------------------------------------

    async def _listen(self) -> None:
        queues = frozenset(self.queues)

        async def connect() -> psycopg.AsyncConnection[Any]:
            opened = await self._source.open_listening()
            if opened is None:
                await asyncio.Event().wait()  # polling only
                raise AssertionError
            return opened

        def on_ready(queue: str) -> None:
            if not queue or queue in queues:
                self._engine.notified(is_work=bool(queue))

        def on_cancel(worker: str) -> None:
            if worker == str(self._engine.worker_id):
                self._heartbeat.beat_soon()

        def on_listening(is_listening: bool) -> None:
            self._engine.listening(is_listening)
            if is_listening:
                self._heartbeat.beat_soon()

        await Listener(
            connect,
            {database.READY_CHANNEL: on_ready, database.CANCEL_CHANNEL: on_cancel},
            on_listening,
        ).run()


def run_worker(settings: Settings, *, queues: Sequence[str], processes: int = 1) -> int:
    """Run workers until they are stopped; the exit code.

    Args:
        settings: of every one of them.
        queues: the queues they serve.
        processes: with more than one, this process only starts the others, starts one again that
            dies, and hands on SIGTERM and SIGINT.
    """
    if processes > 1:
        return supervise(processes, partial(_work, settings, queues))
    return _work(settings, queues)


def _work(settings: Settings, queues: Sequence[str]) -> int:
    return asyncio.run(_run(settings, queues))


async def _run(settings: Settings, queues: Sequence[str]) -> int:
    worker = Worker(settings, queues=queues)
    code = await worker.run()
    if worker.is_stuck:
        # The event loop would wait for them before it closes, and for ever.
        logging.shutdown()
        sys.stdout.flush()
        os._exit(code)
    return code

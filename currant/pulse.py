"""The worker's heartbeat: a thread with a connection of its own.

It beats whatever the event loop does, because a task that keeps the loop busy is alive and must not
be run a second time elsewhere. Only when the loop is stuck and every lease is past its deadline it
falls silent, and the worker counts as dead.
"""

import logging
import random
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol
from uuid import UUID

import psycopg

from currant import database, models

_LOG = logging.getLogger("currant")

# Details that a task has just reported are sent no more often than this.
_SHORTEST_INTERVAL: Final = 0.2
# The event loop has to answer within so many seconds, or its stack is logged.
_PULSE_LIMIT: Final = 5.0


class Host(Protocol):
    """What the heartbeat needs of its worker; all of it is called from the heartbeat's thread."""

    @property
    def worker_id(self) -> UUID: ...

    @property
    def is_registered(self) -> bool:
        """Whether the database has been told of the worker."""

    def beats(self) -> tuple[Sequence[models.Beat], float]:
        """What is being worked on, and the latest deadline of it on the monotonic clock."""

    def beaten(self, beats: Sequence[models.Beat]) -> None:
        """The database has these."""

    def post(self, function: Callable[[], None]) -> None:
        """Call the function on the event loop."""

    def attend(self, answer: models.HeartbeatAnswer) -> None:
        """A lease is lost or asked to stop. Called on the event loop."""

    def declared_dead(self) -> None:
        """The worker is not known any more. Called on the event loop."""


class Heartbeat:
    """Beats from `start` until `stop`."""

    def __init__(
        self,
        host: Host,
        *,
        connect: Callable[[], psycopg.Connection[Any]],
        interval: float,
    ) -> None:
        self._host = host
        self._connect = connect
        self._interval = interval
        self._soon = threading.Event()
        self._stopped = threading.Event()
        self._pulse_at = time.monotonic()
        self._is_pulse_asked = False
        self._loop_thread = threading.get_ident()
        self._thread = threading.Thread(target=self._run, name="currant-heartbeat", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def beat_soon(self) -> None:
        """Do not wait for the next interval. Callable from any thread."""
        self._soon.set()

    def stop(self) -> None:
        """End; does not wait for a beat that is under way."""
        self._stopped.set()
        self._soon.set()

    def join(self, seconds: float) -> None:
        """After `stop`, wait for a beat that is under way, so long at most."""
        if self._thread.is_alive():
            self._thread.join(seconds)

    def _run(self) -> None:
        connection: psycopg.Connection[Any] | None = None
        failures = 0
        while not self._stopped.is_set():
            try:
                if connection is None or connection.closed:
                    connection = self._connect()
                if self._host.is_registered and self._is_loop_alive():
                    self._beat(connection)
                failures = 0
                pause = self._interval * random.uniform(0.9, 1)
            except Exception as error:
                failures += 1
                pause = min(self._interval, 0.2 * 2 ** min(failures, 5)) * random.uniform(0.5, 1)
                level = logging.DEBUG if failures == 1 else logging.WARNING
                _LOG.log(level, "heartbeat failed, next in %.1f s: %s", pause, error)
                if connection is not None:
                    connection.close()
                    connection = None
            if not self._stopped.wait(min(_SHORTEST_INTERVAL, pause)):
                self._soon.wait(max(pause - _SHORTEST_INTERVAL, 0))
            self._soon.clear()
        if connection is not None:
            connection.close()

    def _beat(self, connection: psycopg.Connection[Any]) -> None:
        beats, _ = self._host.beats()
        worker = self._host.worker_id
        try:
            answers = database.run_sync(connection, database.heartbeat(worker, beats))
        except psycopg.Error as error:
            if error.sqlstate != "KR002":
                raise
            if self._host.worker_id == worker:
                self._host.post(self._host.declared_dead)
            return
        self._host.beaten(beats)
        for answer in answers:
            self._host.post(lambda answer=answer: self._host.attend(answer))  # type: ignore[misc]

    def _is_loop_alive(self) -> bool:
        """Whether to beat: the event loop answers, or something it holds may still be running."""
        now = time.monotonic()
        if not self._is_pulse_asked:
            self._is_pulse_asked = True
            self._host.post(self._pulse)
            return True
        silent = now - self._pulse_at
        if silent < max(_PULSE_LIMIT, 2 * self._interval):
            return True
        frame = sys._current_frames().get(self._loop_thread)
        where = "".join(traceback.format_stack(frame)[-6:]) if frame is not None else ""
        _LOG.warning(
            "the worker's event loop has not answered for %.0f s; a task blocks it:\n%s",
            silent,
            where.rstrip(),
        )
        _, latest_deadline = self._host.beats()
        return now < latest_deadline

    def _pulse(self) -> None:
        self._pulse_at = time.monotonic()
        self._is_pulse_asked = False

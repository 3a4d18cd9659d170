"""The heartbeat's thread: when it beats, when it is silent, what it hands on."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from uuid import UUID

import psycopg
import pytest

from currant import models, pulse
from currant.pulse import Heartbeat


class Loop:
    """A worker whose event loop answers at once, or not at all."""

    def __init__(self) -> None:
        self.worker_id: UUID = models.new_id()
        self.is_registered = True
        self.is_stuck = False
        self.latest_deadline = time.monotonic() + 1000
        self.doubts = threading.Event()
        self.attended = threading.Event()
        self.held = [models.Beat(models.new_id(), 7, '"half"')]
        self.stored: list[models.Beat] = []

    def beats(self) -> tuple[Sequence[models.Beat], float]:
        return self.held, self.latest_deadline

    def beaten(self, beats: Sequence[models.Beat]) -> None:
        self.stored += beats

    def post(self, function: Callable[[], None]) -> None:
        if not self.is_stuck:
            function()

    def attend(self, answer: models.HeartbeatAnswer) -> None:
        self.attended.set()

    def declared_dead(self) -> None:
        self.doubts.set()


class Database:
    """Counts the heartbeats that arrive, and answers them."""

    def __init__(self) -> None:
        self.beats = threading.Semaphore(0)
        self.answers: list[models.HeartbeatAnswer] = []
        self.error: Exception | None = None

    def run(self, _connection: object, _call: object) -> list[models.HeartbeatAnswer]:
        self.beats.release()
        if self.error is not None:
            raise self.error
        return self.answers

    def arrives(self, times: int = 1, within: float = 5) -> bool:
        return all(self.beats.acquire(timeout=within) for _ in range(times))


class Connection:
    closed = False

    def close(self) -> None:
        pass


@pytest.fixture
def loop() -> Loop:
    return Loop()


@pytest.fixture
def database(monkeypatch: pytest.MonkeyPatch) -> Database:
    fake = Database()
    monkeypatch.setattr(pulse.database, "run_sync", fake.run)
    return fake


@pytest.fixture
def heartbeat(loop: Loop) -> Iterator[Heartbeat]:
    def connect() -> Any:
        return Connection()

    beating = Heartbeat(loop, connect=connect, interval=0.02)
    yield beating
    beating.stop()
    beating._thread.join(5)


def test_it_beats_again_and_again(heartbeat: Heartbeat, database: Database) -> None:
    heartbeat.start()

    assert database.arrives(times=3)


def test_what_has_arrived_is_told(heartbeat: Heartbeat, database: Database, loop: Loop) -> None:
    heartbeat.start()

    assert database.arrives(times=2)
    assert loop.stored[0] is loop.held[0]


def test_a_lease_that_needs_attention_is_handed_on(
    heartbeat: Heartbeat, database: Database, loop: Loop
) -> None:
    database.answers = [models.HeartbeatAnswer(models.new_id(), 7, "lost")]

    heartbeat.start()

    assert loop.attended.wait(5)


def test_an_unknown_worker_makes_doubts(
    heartbeat: Heartbeat, database: Database, loop: Loop
) -> None:
    class Unknown(psycopg.DatabaseError):
        sqlstate = "KR002"

    database.error = Unknown()

    heartbeat.start()

    assert loop.doubts.wait(5)
    assert loop.stored == []


def test_it_goes_on_after_a_lost_connection(
    heartbeat: Heartbeat, database: Database, loop: Loop
) -> None:
    database.error = psycopg.OperationalError("gone")
    heartbeat.start()
    assert database.arrives()

    database.error = None

    assert database.arrives(times=2)


def test_a_worker_that_is_not_registered_yet_does_not_beat(
    heartbeat: Heartbeat, database: Database, loop: Loop
) -> None:
    loop.is_registered = False

    heartbeat.start()

    assert not database.arrives(within=0.3)
    loop.is_registered = True
    assert database.arrives()


def test_a_stuck_loop_is_alive_while_something_may_still_be_running(
    heartbeat: Heartbeat,
    database: Database,
    loop: Loop,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(pulse, "_PULSE_LIMIT", 0.05)
    loop.is_stuck = True

    heartbeat.start()

    assert database.arrives(times=10)
    assert "has not answered" in caplog.text


def test_a_stuck_loop_past_every_deadline_falls_silent(
    heartbeat: Heartbeat, database: Database, loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pulse, "_PULSE_LIMIT", 0.05)
    loop.is_stuck = True
    loop.latest_deadline = 0.0

    heartbeat.start()

    while database.arrives(within=0.5):
        pass
    loop.is_stuck = False
    heartbeat._pulse()
    assert database.arrives()

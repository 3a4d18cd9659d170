"""Worker processes on a database of the test's own, gates to stop them at, and a look from outside.

At the end of every test the tables have to say what they always have to say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.concurrency.invariants import ALWAYS
from tests.support.worker_database import Database
from tests.support.worker_gates import Gate
from tests.support.worker_process import WorkerProcess

StartProcess = Callable[..., WorkerProcess]
MakeGate = Callable[[], Gate]


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """A look at the test's database from outside; it has the table `effects`."""
    found = Database(database_url)
    found.rows("create table effects (name text, attempt integer)")
    yield found
    for sentence, contradiction in ALWAYS.items():
        assert found.rows(contradiction) == [], sentence
    found.close()


@pytest.fixture
def gate(database: Database) -> Iterator[MakeGate]:
    """Makes gates."""
    made: list[Gate] = []

    def make() -> Gate:
        made.append(Gate(database))
        return made[-1]

    yield make
    for one in made:
        one.remove()


@pytest.fixture
def start(database: Database, gate: MakeGate, tmp_path: Path) -> Iterator[StartProcess]:
    """Starts worker processes; what is left of them is killed at the end."""
    started: list[WorkerProcess] = []

    def start_one(*arguments: str, **environment: str) -> WorkerProcess:
        log = tmp_path / f"worker-{len(started) + 1}.log"
        app = environment.pop("app", "tests.apps.effects")
        arguments = arguments or ("-q", "work")
        started.append(WorkerProcess(database, log, app, *arguments, environment=environment))
        return started[-1]

    yield start_one
    for worker in started:
        worker.clean_up()
    for worker in started:
        # Shown by pytest if the test failed.
        print(f"--- worker {worker.pid}", worker.log(), sep="\n")

"""`currant worker` as a process: how it ends, what it logs, several at once."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.worker_database import Database, until
from tests.support.worker_process import WorkerProcess

StartProcess = Callable[..., WorkerProcess]
ENDED = "select count(*) = (select count(*) from currant.executions) from currant.outcomes"


@pytest.fixture
def start(database: Database, tmp_path: Path) -> Iterator[StartProcess]:
    """Starts worker processes; what is left of them is killed at the end."""
    started: list[WorkerProcess] = []

    def start_one(*arguments: str, **environment: str) -> WorkerProcess:
        log = tmp_path / f"worker-{len(started) + 1}.log"
        environment = {"CURRANT_WORKER_HEARTBEAT_TIMEOUT": "20", **environment}
        is_awaited = "--processes" not in arguments
        arguments = ("-q", "work", *arguments)
        started.append(
            WorkerProcess(
                database,
                log,
                "tests.apps.files",
                *arguments,
                environment=environment,
                is_awaited=is_awaited,
            )
        )
        return started[-1]

    yield start_one
    for worker in started:
        worker.clean_up()
        print(f"--- worker {worker.pid}", worker.log(), sep="\n")


def run(database: Database, function: str, path: Path) -> object:
    execution = database.value(
        "select currant.enqueue(%s, jsonb_build_object('path', %s::text))", function, str(path)
    )
    until(Path(f"{path}.begun.1").exists, f"{function} to begin")
    return execution


@pytest.mark.parametrize("function", ["until_file", "until_file_sync"])
def test_asked_to_stop_it_lets_what_runs_finish(
    database: Database, start: StartProcess, tmp_path: Path, function: str
) -> None:
    worker = start()
    running = run(database, function, tmp_path / "file")

    worker.terminate()
    until(lambda: worker.lines("1 tasks have 10 s to finish"))
    waiting = database.value("select currant.enqueue('quick', '{\"n\": 1}')")
    (tmp_path / "file").touch()

    assert worker.wait() == 0
    assert database.value("select currant.result(%s)", running) == 1
    assert database.value("select status from currant.status(%s)", waiting) == "pending"
    assert database.value("select count(*) from currant.workers") == 0


@pytest.mark.parametrize("function", ["until_file", "until_file_sync"])
@pytest.mark.parametrize("how", ["grace is over", "asked again"])
def test_then_it_gives_back_what_has_not_finished(
    database: Database, start: StartProcess, tmp_path: Path, how: str, function: str
) -> None:
    grace = "0.2" if how == "grace is over" else "60"
    worker = start(CURRANT_WORKER_SHUTDOWN_GRACE=grace)
    execution = run(database, function, tmp_path / "file")

    worker.terminate()
    if how == "asked again":
        until(lambda: worker.lines("to finish"))
        worker.terminate()

    assert worker.wait() == 0
    state = database.rows("select status, attempt from currant.execution_status")[0]
    assert state == ("pending", 1)
    assert database.rows("select * from currant.attempts") == []
    assert worker.lines(f"gave back {function} {execution}")
    # Another takes it up, in its first attempt still.
    (tmp_path / "file").touch()
    start()
    database.until(ENDED)
    assert database.value("select currant.result(%s)", execution) == 1


def test_a_task_that_blocks_the_event_loop_is_not_given_to_another(
    database: Database, start: StartProcess, tmp_path: Path
) -> None:
    """Nothing goes on in its worker but the heartbeat."""
    for _ in range(2):
        start(CURRANT_WORKER_HEARTBEAT_TIMEOUT="1")
    execution = run(database, "until_file_rudely", tmp_path / "file")
    database.until(
        "select heartbeat_at > claimed_at + interval '2.5 seconds'"
        " from currant.leases as l join currant.workers as w on w.id = l.worker_id"
    )

    (tmp_path / "file").touch()

    database.until(ENDED)
    assert database.value("select currant.result(%s)", execution) == 1
    assert database.rows("select * from currant.attempts") == []


def test_ctrl_c_stops_it_too(database: Database, start: StartProcess) -> None:
    worker = start()

    os.kill(worker.pid, signal.SIGINT)

    assert worker.wait() == 0
    assert worker.lines("has stopped")


def test_too_many_hung_threads_end_it_with_1(database: Database, start: StartProcess) -> None:
    worker = start(CURRANT_WORKER_MAX_CONCURRENT="1")
    database.rows("select currant.enqueue('hang') from generate_series(1, 2)")

    assert worker.wait() == 1
    assert database.value(ENDED)
    assert worker.lines("threads of sync tasks hang")


def test_it_logs_a_line_for_each_execution_and_none_for_polling(
    database: Database, start: StartProcess
) -> None:
    worker = start(CURRANT_WORKER_POLL_INTERVAL="0.02", CURRANT_WORKER_HEARTBEAT_INTERVAL="0.05")
    database.rows(
        "select currant.enqueue_many('quick', array("
        "    select jsonb_build_object('n', n) from generate_series(1, 20) as n))"
    )
    database.until(ENDED)
    # So that it has polled and beaten a number of times.
    worker_beats = "select heartbeat_at > now() - interval '1 second' from currant.workers"
    beats = database.value("select heartbeat_at from currant.workers")
    for _ in range(5):
        beats = database.until(
            "select heartbeat_at from currant.workers where heartbeat_at > %s", beats
        )
    assert database.value(worker_beats)
    worker.terminate()
    assert worker.wait() == 0

    lines = worker.log().splitlines()
    assert len(worker.lines("completed quick")) == 20
    ids = {
        str(row.execution_id) for row in database.rows("select execution_id from currant.outcomes")
    }
    assert {line.split()[5].rstrip(",") for line in worker.lines("completed quick")} == ids
    assert len(lines) == 22
    assert "queues work, 10 tasks at a time" in lines[0]
    assert "has stopped" in lines[-1]


def test_several_processes_work_and_stop_together(database: Database, start: StartProcess) -> None:
    supervisor = start("--processes", "2")
    workers = "select array_agg(pid) from currant.workers where died_at is null having count(*) = 2"
    first = database.until(workers)

    os.kill(first[0], signal.SIGKILL)
    second = database.until(f"{workers.replace('having', 'and pid <> %s having')}", first[0])
    assert first[1] in second
    database.rows(
        "select currant.enqueue_many('quick', array("
        "    select jsonb_build_object('n', n) from generate_series(1, 100) as n))"
    )
    database.until(ENDED)
    supervisor.terminate()

    assert supervisor.wait() == 0
    assert supervisor.lines(f"worker process {first[0]} ended with -9, starting another")
    assert not any(Path(f"/proc/{pid}").exists() for pid in second)
    alive = "select count(*) from currant.workers where heartbeat_at > now() and died_at is null"
    assert database.value(alive) == 0


def test_a_worker_that_is_stopped_while_it_starts_goes(
    database: Database, start: StartProcess
) -> None:
    supervisor = start("--processes", "2")
    until(lambda: Path(f"/proc/{supervisor.pid}/task/{supervisor.pid}/children").read_text())

    supervisor.terminate()

    supervisor.wait(10)
    database.until(
        "select count(*) = 0 from pg_stat_activity"
        " where application_name = 'currant worker' and datname = current_database()"
    )

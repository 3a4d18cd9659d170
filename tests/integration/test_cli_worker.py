"""`currant worker` as a process: what it loads, serves, logs, and how it ends."""

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.integration.command_line import currant, on_terminal, start

APP = """
import os
import sys

from currant import task, workflow

print("imported", flush=True)


@task(queue="emails", retries=0)
async def send_email(to):
    print("sending to " + to)
    return {"seed": os.environ.get("PYTHONHASHSEED")}


@task(retries=1, retry_delay=0.01)
def charge(amount):
    import currant

    if currant.task_info().attempt == 1:
        raise ConnectionError("the bank\\ndid not answer")
    return amount


@task(retries=0)
def unserialisable():
    return {"handle": object()}


@workflow(queue="orders")
async def order(amount):
    return await charge.run(amount)
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    tmp_path.joinpath("app.py").write_text(APP)
    return tmp_path


class Running:
    """A worker in the background; its log is read line by line."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.log: list[str] = []

    def until(self, words: str) -> str:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.log.append(line.rstrip())
            if words in line:
                return line.rstrip()
        raise AssertionError("\n".join([f"never logged {words!r}:", *self.log]))

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(30)
        assert self.process.stderr is not None
        self.log += self.process.stderr.read().splitlines()
        return code


@pytest.fixture
def worker(database_url: str, project: Path) -> Any:
    """Start a worker in the project's directory; it is gone after the test."""
    started: list[subprocess.Popen[str]] = []

    def begin(*arguments: str, **options: Any) -> Running:
        process = start(database_url, "worker", *arguments, cwd=project, **options)
        started.append(process)
        return Running(process)

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def enqueue(url: str, *arguments: str) -> str:
    done = currant(url, "enqueue", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def result(url: str, execution: str) -> Any:
    return json.loads(currant(url, "status", execution, "--json").stdout)["result"]


def test_one_worker_on_a_queue_finishes_its_workflows(worker: Any, database_url: str) -> None:
    running = worker("-q", "orders")
    running.until("queues orders, 10 tasks")
    execution = enqueue(database_url, "order", "[7]")

    running.until(f"completed order {execution}")

    assert result(database_url, execution) == 7
    assert running.stop() == 0


def test_without_a_queue_it_serves_all_that_the_app_names(worker: Any, database_url: str) -> None:
    running = worker("--concurrency", "3")

    line = running.until("tasks at a time")

    assert "queues default, emails, orders, 3 tasks at a time" in line


def test_the_story_of_a_workflow_shows_its_attempts(worker: Any, database_url: str) -> None:
    running = worker()
    running.until("tasks at a time")
    execution = enqueue(database_url, "order", '{"amount": 7}')
    running.until(f"completed order {execution}")

    story = currant(database_url, "history", execution).stdout
    code, shown = on_terminal(database_url, "history", execution, columns=80, env={"NO_COLOR": "1"})
    events = json.loads(currant(database_url, "history", execution, "--json").stdout)["entries"]

    steps = [line.split(maxsplit=3)[3] for line in story.splitlines()[3:]]
    assert [step.split("  ")[0] for step in steps] == [
        "enqueued",
        "started",
        "task charge",
        "attempt 1",
        "attempt 2",
        "completed",
    ]
    assert "ConnectionError: the bank; did not answer" in story
    assert f"app.py:{APP.splitlines().index('    return await charge.run(amount)') + 1}" in story
    assert code == 0
    title, *story_on_terminal = shown.splitlines()
    # Whole, so that the id can be copied.
    assert title.startswith(f"order {execution} completed")
    assert [line for line in story_on_terminal if len(line) > 80] == []
    assert [event["kind"] for event in events if event["position"] == 0] == [
        "started",
        "task_completed",
    ]


def test_a_result_that_cannot_be_stored_is_an_error_of_the_task(
    worker: Any, database_url: str
) -> None:
    running = worker()
    running.until("tasks at a time")
    execution = enqueue(database_url, "unserialisable")
    running.until(f"failed unserialisable {execution}")

    shown = currant(database_url, "status", execution).stdout

    assert "status    failed" in shown
    assert "error     EncodingError: " in shown
    assert "object" in shown


def test_its_log_has_one_line_for_each_record(worker: Any, database_url: str) -> None:
    running = worker()
    running.until("tasks at a time")
    execution = enqueue(database_url, "charge", "[1]")

    failed = running.until("failed charge")
    running.until(f"completed charge {execution}, attempt 2 of 2")

    stamp, clock, level, rest = failed.split(maxsplit=3)
    assert (len(stamp), len(clock), level) == (10, 12, "warning")
    assert rest.startswith(f"failed charge {execution}, attempt 1 of 2")
    assert "\x1b" not in "".join(running.log)


def test_what_tasks_print_comes_at_once(worker: Any, database_url: str) -> None:
    running = worker()
    running.until("tasks at a time")
    enqueue(database_url, "send_email", '["me"]')

    assert running.process.stdout is not None
    assert running.process.stdout.readline() == "imported\n"
    assert running.process.stdout.readline() == "sending to me\n"


def test_every_worker_has_the_hash_seed_of_the_installation(worker: Any, database_url: str) -> None:
    running = worker(env={"PYTHONHASHSEED": "random"})
    running.until("tasks at a time")
    execution = enqueue(database_url, "send_email", '["me"]')
    running.until(f"completed send_email {execution}")

    with psycopg.connect(database_url) as connection:
        [seed] = connection.execute("select hash_seed from currant.settings()").fetchone() or []
    assert result(database_url, execution) == {"seed": str(seed % 2**32)}


def test_several_processes_share_the_work_and_stop_together(worker: Any, database_url: str) -> None:
    running = worker("--processes", "2")
    running.until("tasks at a time")
    running.until("tasks at a time")
    execution = enqueue(database_url, "send_email", '["me"]')
    running.until(f"completed send_email {execution}")

    listed = json.loads(currant(database_url, "workers", "--json").stdout)

    assert len({one["pid"] for one in listed if one["is_alive"]}) == 2
    assert running.stop() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_order(worker: Any, number: int) -> None:
    running = worker()
    running.until("tasks at a time")

    running.process.send_signal(number)

    assert running.process.wait(30) == 0
    running.until("has stopped")


def test_the_log_level_silences_what_is_below(worker: Any, database_url: str) -> None:
    running = worker("--log-level", "warning")
    execution = enqueue(database_url, "charge", "[1]", "-q", "default")

    running.until(f"failed charge {execution}")

    assert len(running.log) == 1


def test_the_app_is_found_by_its_name_too(worker: Any, project: Path) -> None:
    project.joinpath("app.py").rename(project / "shop.py")
    project.joinpath("pyproject.toml").write_text("[tool.currant]\napp = 'shop'\n")

    by_pyproject = worker()
    by_option = worker("--app", "shop.py", "-q", "x")
    by_variable = worker("-q", "y", env={"CURRANT_APP": "shop"})

    by_pyproject.until("queues default, emails, orders")
    by_option.until("queues x")
    by_variable.until("queues y")


def complaint(url: str, directory: Path, *arguments: str) -> str:
    done = currant(url, "worker", *arguments, cwd=directory)
    assert done.returncode == 1
    return done.stderr.splitlines()[-1]


def test_without_an_app_it_says_how_to_name_one(database_url: str, tmp_path: Path) -> None:
    line = complaint(database_url, tmp_path)

    assert line.startswith(f"currant: no application found in {tmp_path}")
    assert "--app" in line


def test_a_mistake_in_the_app_is_shown_with_its_line(database_url: str, tmp_path: Path) -> None:
    tmp_path.joinpath("app.py").write_text("from currant import task\n\n@task\ndef f(:\n")

    assert "importing app failed: app.py:4: SyntaxError" in complaint(database_url, tmp_path)


def test_an_app_without_functions_is_refused(database_url: str, tmp_path: Path) -> None:
    tmp_path.joinpath("app.py").write_text("x = 1\n")

    assert "app defines no task and no workflow" in complaint(database_url, tmp_path)


def test_a_schema_that_is_missing_is_said_at_once(empty_database_url: str, project: Path) -> None:
    line = complaint(empty_database_url, project)

    assert "no schema currant" in line
    assert "currant migrate" in line
    assert os.linesep not in line

"""A shell in which Currant's commands run, and workers that can be killed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
CURRANT = Path(sys.executable).with_name("currant")
PATIENCE_SECONDS = 30


class Process:
    """A program in the background, whose output goes to a file."""

    def __init__(self, command: list[str | Path], log: Path, **options: Any) -> None:
        self.log = log
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, **options
            )
        self.pid = self._process.pid

    @property
    def output(self) -> str:
        """What it has printed so far."""
        return self.log.read_text(errors="replace")

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    def wait(self) -> int:
        """Its exit code, once it has ended."""
        return self._process.wait(PATIENCE_SECONDS)

    def stop(self) -> int:
        """End it as a supervisor would; its exit code."""
        if self._process.poll() is None:
            self.send(signal.SIGCONT)
            self.send(signal.SIGTERM)
        try:
            return self.wait()
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise

    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None


class Shell:
    """A directory of the test's own in which commands run against one database.

    Attributes:
        environment: of the commands.
        sql: a superuser's connection, to look at what happened.
    """

    def __init__(self, directory: Path, url: str, sql: psycopg.Connection[Any]) -> None:
        self.directory = directory
        self.url = url
        self.sql = sql
        self.environment = {
            **os.environ,
            "CURRANT_DATABASE_URL": url,
            "PATH": f"{CURRANT.parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONUNBUFFERED": "1",
        }
        self._started: list[Process] = []

    def add(self, *names: str) -> None:
        """Copy files from beside the tests into the directory."""
        for name in names:
            shutil.copy(HERE / name, self.directory)

    def run(self, command: str, *, code: int = 0) -> str:
        """Run a command line; what it prints."""
        done = subprocess.run(
            ["bash", "-c", command],
            check=False,
            cwd=self.directory,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
        )
        assert done.returncode == code, f"{command}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def start(self, *command: str | Path, **variables: str) -> Process:
        """Start a program, which is stopped when the test ends."""
        process = Process(
            list(command),
            self.directory / f"{len(self._started)}.log",
            cwd=self.directory,
            env=self.environment | variables,
        )
        self._started.append(process)
        return process

    def worker(self, *arguments: str, **variables: str) -> Process:
        """Start `currant worker`."""
        return self.start(CURRANT, "worker", *arguments, **variables)

    def one(self, query: str, *parameters: object) -> Any:
        """The one value that a query gives."""
        row = self.sql.execute(query.encode(), parameters).fetchone()
        assert row is not None
        return row[0]

    def until(self, query: str, *parameters: object) -> None:
        """Wait until a query gives true."""
        wait_until(lambda: self.one(query, *parameters), query)

    def ended(self, execution: str) -> str:
        """Wait until the execution has ended; its status then."""
        self.until("select finished_at is not null from currant.execution_status where id = %s",
                   execution)  # fmt: skip
        return str(self.status(execution))

    def status(self, execution: str) -> Any:
        """Where the execution stands."""
        return self.one("select status from currant.execution_status where id = %s", execution)

    def stop_all(self) -> None:
        """Stop what was started."""
        for process in self._started:
            process.stop()


def wait_until(condition: Callable[[], object], what: str) -> None:
    """Wait until the condition holds; the test fails if it never does."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain: {what}"
        time.sleep(0.03)

"""Private Postgres servers for the suite: fast ones to clone databases on, and one to break.

They run on shared memory where there is room, die with the test run, and leave nothing behind.
"""

from __future__ import annotations

import ctypes
import itertools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psycopg
from psycopg import sql

from currant import embedded
from currant.cluster import Cluster, Installation, Launcher, choose_launcher
from tests.support.debian import debian_installation

FAST = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "autovacuum_naptime": "5s",
}
SETTINGS = {
    "max_connections": "100",
    "shared_buffers": "64MB",
    "deadlock_timeout": "100ms",
    "jit": "off",
    "timezone": "GMT",
    "log_timezone": "GMT",
    "log_checkpoints": "off",
    "max_wal_size": "256MB",
    "min_wal_size": "32MB",
}
_START_SECONDS = 60
_ROOM = 1 << 30
_PREFIX = "currant-tests-"


def newest_version() -> int:
    """The major version that tests run on unless they ask for more."""
    return embedded.major_version()


def all_versions() -> list[int]:
    """Every major version the suite has on this system."""
    return [newest_version(), debian_installation()[0]]


def installation_of(version: int) -> Installation:
    """The programs of one of the versions."""
    if version == newest_version():
        return embedded.installation()
    return debian_installation()[1]


def base_directory() -> Path:
    """A new directory for servers, passable for the account they run as."""
    shared_memory = Path("/dev/shm")
    roomy = shared_memory.is_dir() and shutil.disk_usage(shared_memory).free > _ROOM
    parent = shared_memory if roomy else Path(tempfile.gettempdir())
    _remove_leftovers(parent)
    base = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=parent))
    base.chmod(0o711)
    return base


def _remove_leftovers(parent: Path) -> None:
    """Remove what killed test runs left behind."""
    for directory in parent.glob(f"{_PREFIX}*"):
        pid = directory.name.removeprefix(_PREFIX).split("-")[0]
        if pid.isdigit() and not _is_alive(int(pid)) and directory.stat().st_uid == os.geteuid():
            shutil.rmtree(directory, ignore_errors=True)


class Server:
    """A running server, a child of the test process."""

    def __init__(self, version: int, directory: Path, settings: dict[str, str]) -> None:
        self.version = version
        self.cluster = Cluster(directory)
        self._settings = SETTINGS | settings
        if version != newest_version():
            self._settings["shared_preload_libraries"] = "plpgsql,plpgsql_check"
        runtime = directory.parent / f"runtime-{version}"
        self.launcher: Launcher = choose_launcher(
            installation_of(version), directory.parent, runtime
        )
        self._process: subprocess.Popen[bytes] | None = None
        self._numbers = itertools.count(1)

    def url(self, database: str = "postgres") -> str:
        """The superuser's URL of a database."""
        return self.cluster.url(database)

    def start(self) -> None:
        """Start, and wait until connections are accepted."""
        self.cluster.prepare(self.launcher, self._settings)
        with self.cluster.log.open("ab") as log:
            self._process = self.launcher.popen(
                "postgres",
                *("-D", str(self.cluster.data)),
                *self.cluster.server_options(),
                output=log.fileno(),
                preexec=_die_with_parent,
            )
        deadline = time.monotonic() + _START_SECONDS
        while True:
            try:
                psycopg.connect(self.url(), connect_timeout=5).close()
            except psycopg.OperationalError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise AssertionError(f"no server: {self.cluster.last_words(20)}") from None
                time.sleep(0.02)
            else:
                return

    def stop(self) -> None:
        """Stop in an orderly way, ending every session."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """Crash: kill -9 of the server and of every process it has."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Stop and start."""
        self.stop()
        self.start()

    def create_database(self, template: str = "template1", name: str | None = None) -> str:
        """Make a database as a copy of `template`, and return its name."""
        name = name or f"test_{os.getpid()}_{next(self._numbers)}"
        self.administer(
            sql.SQL("create database {} template {} strategy file_copy").format(
                sql.Identifier(name), sql.Identifier(template)
            )
        )
        return name

    def drop_database(self, name: str) -> None:
        """Remove a database, whoever is still connected to it."""
        self.administer(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))

    def administer(self, statement: sql.Composed) -> None:
        """Run one statement as the superuser in the maintenance database."""
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(statement)

    def _end(self, signal_number: signal.Signals) -> None:
        if self._process is None:
            return
        processes = [self._process.pid]
        if signal_number == signal.SIGKILL:
            processes += _children(self._process.pid)
        for pid in processes:
            _signal(pid, signal_number)
        self._process.wait(_START_SECONDS)
        self._process = None
        _wait_until(lambda: not any(_is_alive(pid) for pid in processes))


def _die_with_parent() -> None:
    """In the child: be shut down when the test run is killed."""
    if sys.platform == "linux":
        set_parent_death_signal = 1
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGINT)
    # Ctrl-C is for the test run; the server is stopped when the tests have cleaned up.
    os.setpgid(0, 0)


def _children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in tasks.read_text().split()] if tasks.exists() else []


def _signal(pid: int, signal_number: signal.Signals) -> None:
    try:
        os.kill(pid, signal_number)
    except ProcessLookupError:
        return


def _is_alive(pid: int) -> bool:
    try:
        # An orphan that nobody has collected yet holds nothing any more.
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def _wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "a killed server does not go away"
        time.sleep(0.01)

"""Several processes under one, as they are started, replaced and stopped."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.worker_database import until

PROGRAM = """
import os, signal, sys, time
from pathlib import Path
from currant import supervisor

supervisor._RESTART_PAUSE = 0.0
directory = Path(sys.argv[1])

def work():
    stopped = []
    signal.signal(signal.SIGTERM, lambda *_: stopped.append(True))
    (directory / str(os.getpid())).touch()
    if (directory / "fail").exists():
        return 3
    while not stopped:
        time.sleep(0.01)
    return 1 if (directory / "sour").exists() else 0

sys.exit(supervisor.supervise(int(sys.argv[2]), work))
"""


class Supervisor:
    def __init__(self, directory: Path, processes: int) -> None:
        self._directory = directory
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(directory), str(processes)],
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def children(self) -> set[int]:
        """Every process that has ever begun to work."""
        return {int(file.name) for file in self._directory.iterdir() if file.name.isdigit()}

    def begun(self, count: int) -> set[int]:
        """Wait until so many processes have begun to work."""
        until(lambda: len(self.children()) >= count)
        return self.children()

    def end(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(10)


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    supervisor = Supervisor(tmp_path, 3)
    yield supervisor
    with contextlib.suppress(ProcessLookupError):
        os.killpg(supervisor.process.pid, signal.SIGKILL)
    supervisor.process.wait(10)


def is_alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def test_it_starts_so_many_and_stops_them_together(supervisor: Supervisor) -> None:
    children = supervisor.begun(3)

    assert supervisor.end() == 0
    assert not any(map(is_alive, children))


def test_one_that_dies_is_replaced(supervisor: Supervisor) -> None:
    first = supervisor.begun(3)

    os.kill(min(first), signal.SIGKILL)

    supervisor.begun(4)
    assert supervisor.end() == 0
    assert not any(map(is_alive, supervisor.children()))


def test_the_worst_exit_code_is_its_own(supervisor: Supervisor, tmp_path: Path) -> None:
    supervisor.begun(3)
    (tmp_path / "sour").touch()

    assert supervisor.end() == 1


@pytest.mark.parametrize("begun", [1, 2, 3])
def test_stopped_while_it_starts_it_leaves_nobody_behind(
    supervisor: Supervisor, begun: int
) -> None:
    supervisor.begun(begun)

    assert supervisor.end() == 0
    assert not any(map(is_alive, supervisor.children()))

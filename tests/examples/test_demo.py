"""The demonstration itself, as a newcomer runs it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.examples.shell import ROOT, Process, wait_until


@pytest.fixture
def home(server_directory: Path) -> Path:
    """Where the demonstration's server lives."""
    return server_directory / "demo"


def _environment() -> dict[str, str]:
    return {**os.environ, "TERM": "dumb", "PYTHONUNBUFFERED": "1"}


def _run(home: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "examples.demo", "--home", home],
        check=False,
        cwd=ROOT,
        env=_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def _processes_of(home: Path) -> list[str]:
    """The command lines of running processes that have to do with the directory."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes()
            environment = (process / "environ").read_bytes()
        except OSError:
            continue
        if str(home).encode() in command + environment and process.name != str(os.getpid()):
            found.append(command.replace(b"\0", b" ").decode())
    return found


def test_second_run_is_as_good_as_the_first(home: Path) -> None:
    first, second = _run(home), _run(home)

    for printed in (first, second):
        assert "Recovered" in printed
        assert "approve_refund signalled" in printed
        assert "WRONG" not in printed
    assert _processes_of(home) == []


def test_interrupted_run_leaves_nothing_behind(home: Path, tmp_path: Path) -> None:
    demo = Process(
        [sys.executable, "-m", "examples.demo", "--home", home],
        tmp_path / "demo.log",
        cwd=ROOT,
        env=_environment(),
    )
    wait_until(lambda: "kill -9" in demo.output or not demo.is_running(), "the kill")

    demo.send(signal.SIGINT)

    assert demo.wait() == 130
    assert _processes_of(home) == []

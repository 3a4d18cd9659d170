"""What worker processes use, as /proc tells; and how to hold them while work is prepared."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.runs import Side


@contextmanager
def held(sides: Iterable[Side]) -> Iterator[None]:
    """Stop workers with all their processes, so that they begin what is there by then at once.

    They must be idle, and not be held for longer than they can be silent.
    """
    groups = [side.pid for side in sides]
    for group in groups:
        os.killpg(group, signal.SIGSTOP)
    yield
    for group in groups:
        os.killpg(group, signal.SIGCONT)


def cpu_seconds(sides: Iterable[Side]) -> float:
    """What they and their children, those that have ended included, have used by now."""
    ticks = sum(
        int(value)
        for pid in _processes(sides)
        for value in _text(pid, "stat").rpartition(")")[2].split()[11:15]
    )
    return ticks / os.sysconf("SC_CLK_TCK")


def memory_bytes(sides: Iterable[Side]) -> int:
    """What they and their children have in memory; what several share is counted once."""
    return 1024 * sum(
        int(line.split()[1])
        for pid in _processes(sides)
        for line in _text(pid, "smaps_rollup").splitlines()
        if line.startswith("Pss:")
    )


def _processes(sides: Iterable[Side]) -> Iterator[int]:
    waiting = [side.pid for side in sides]
    while waiting:
        pid = waiting.pop()
        yield pid
        for task in Path(f"/proc/{pid}/task").glob("*"):
            waiting += map(int, _text(pid, f"task/{task.name}/children").split())


def _text(pid: int, name: str) -> str:
    try:
        return Path(f"/proc/{pid}/{name}").read_text()
    except OSError:  # it has just ended
        return ""

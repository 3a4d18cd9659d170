"""What the functions of every system do: note in memory that they ran, and when.

This is all the work there is, the same for all. A process writes its notes down when it ends, so
that nothing but two appends happens while it is measured. `time.monotonic_ns` is one clock for all
processes of a machine.
"""

from __future__ import annotations

import os
import time
from array import array
from collections import defaultdict
from pathlib import Path

DIRECTORY = "CURRANT_BENCH_STAMPS"

_notes = array("q")


def stamp(number: int) -> None:
    """Note that number ran now; a negative one keeps the process from all else for -number ms."""
    _notes.append(number)
    _notes.append(time.monotonic_ns())
    if number < 0:
        time.sleep(-number / 1000)


def flush() -> None:
    """Write down what this process has noted; processes that a worker forks have to call it."""
    if _notes and DIRECTORY in os.environ:
        path = Path(os.environ[DIRECTORY]) / f"{os.getpid()}-{time.monotonic_ns()}"
        path.write_bytes(_notes.tobytes())
        del _notes[:]


def read(directory: Path) -> dict[int, list[int]]:
    """The times at which each number ran, in the order of time."""
    found: dict[int, list[int]] = defaultdict(list)
    for path in directory.iterdir():
        notes = array("q", path.read_bytes())
        for number, at in zip(notes[::2], notes[1::2], strict=True):
            found[number].append(at)
    for times in found.values():
        times.sort()
    return dict(found)

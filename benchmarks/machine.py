"""What a reader has to know of the machine to make anything of the figures."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

_TOP = Path(__file__).resolve().parents[1]
_SYNCS = 200


def describe(directory: Path) -> dict[str, Any]:
    """The machine, and the disk below the directory."""
    return {
        "processor": _field("/proc/cpuinfo", "model name") or platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "is_virtual": " hypervisor " in (_field("/proc/cpuinfo", "flags") or "") + " ",
        "system": f"{platform.system()} {platform.release()}",
        "filesystem": _output("stat", "--file-system", "--format=%T", str(directory)),
        "fdatasync_ms": round(_sync_seconds(directory) * 1000, 3),
        "python": platform.python_version(),
    }


def commit() -> str:
    """The commit of the tree, with a "+" if the tree has changes."""
    revision = _output("git", "-C", str(_TOP), "rev-parse", "--short=12", "HEAD")
    changes = _output("git", "-C", str(_TOP), "status", "--porcelain", "--untracked-files=no")
    return revision + "+" * bool(changes)


class Processors:
    """The time of all processors since it was made: how much of it was somebody else's."""

    def __init__(self) -> None:
        self._begin = _processor_times()

    def shares(self, own_seconds: float) -> tuple[float, float]:
        """The shares used by processes not ours, and stolen by the host of this machine."""
        now = _processor_times()
        total, idle, stolen = (
            after - before for after, before in zip(now, self._begin, strict=True)
        )
        if total <= 0:
            return 0.0, 0.0
        busy = total - idle - stolen
        return max(0.0, busy - own_seconds) / total, stolen / total


def _processor_times() -> tuple[float, float, float]:
    """Seconds in all, idle and stolen."""
    path = Path("/proc/stat")
    if not path.exists():
        return 0.0, 0.0, 0.0
    fields = [int(field) for field in path.read_text().partition("\n")[0].split()[1:9]]
    tick = os.sysconf("SC_CLK_TCK")
    return sum(fields) / tick, (fields[3] + fields[4]) / tick, fields[7] / tick


def _sync_seconds(directory: Path) -> float:
    times = []
    with tempfile.TemporaryFile(dir=directory, buffering=0) as file:
        for _ in range(_SYNCS):
            file.write(b"x" * 8192)
            begin = time.perf_counter()
            os.fdatasync(file.fileno()) if sys.platform == "linux" else os.fsync(file.fileno())
            times.append(time.perf_counter() - begin)
    return statistics.median(times)


def _field(path: str, name: str) -> str | None:
    try:
        text = Path(path).read_text()
    except OSError:
        return None
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return None


def _output(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.strip()

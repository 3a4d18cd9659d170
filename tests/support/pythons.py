"""The versions of Python on this machine, and how to run workflow code on each of them."""

from __future__ import annotations

import fcntl
import functools
import importlib.metadata
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.support.debian import cache_directory

OLDEST = (3, 11)
_LOOK = "import platform as p; print(p.python_implementation(), p.python_version())"


@dataclass(frozen=True)
class Python:
    """An interpreter. `path` is what its PYTHONPATH has to be; None if it lacks requirements."""

    version: str
    executable: str
    path: str | None

    def start(self, script: Path, *args: str, hash_seed: int) -> subprocess.Popen[str]:
        """Run a script with a hash seed of its own."""
        assert self.path is not None
        environment = {**os.environ, "PYTHONHASHSEED": str(hash_seed), "PYTHONPATH": self.path}
        return subprocess.Popen(
            [self.executable, str(script), *args],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


@functools.cache
def pythons() -> list[Python]:
    """Every one there is, this one first, each version once."""
    found = {_version(sys.executable): sys.executable}
    for candidate in _candidates():
        version = _version(candidate)
        if version is not None:
            found.setdefault(version, candidate)
    return [Python(v, executable, _path(v, executable)) for v, executable in found.items() if v]


def _candidates() -> list[str]:
    named = [shutil.which(f"python{OLDEST[0]}.{minor}") for minor in range(OLDEST[1], 20)]
    several = [*map(str, sorted(Path.home().glob(".pyenv/versions/3.*/bin/python")))]
    return [*filter(None, [*named, "/usr/bin/python3"]), *several]


def _version(executable: str) -> str | None:
    try:
        found = subprocess.run(
            [executable, "-c", _LOOK], capture_output=True, text=True, timeout=30, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    implementation, version = found.stdout.split()
    is_wanted = implementation == "CPython" and _minor(version) >= OLDEST
    return version if is_wanted else None


def _minor(version: str) -> tuple[int, int]:
    major, minor = version.split(".")[:2]
    return int(major), int(minor)


def _path(version: str, executable: str) -> str | None:
    """Where it finds msgspec, which is all that workflow code needs; None if it cannot be had."""
    ours = importlib.metadata.version("msgspec")
    if executable == sys.executable:
        return ""
    minor = ".".join(map(str, _minor(version)))
    target = cache_directory() / "pythons" / f"{minor}-msgspec-{ours}"
    target.parent.mkdir(parents=True, exist_ok=True)
    with (target.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.is_dir() and not _install(minor, f"msgspec=={ours}", target):
            return None
    return str(target)


def _install(minor: str, requirement: str, target: Path) -> bool:
    # Our own pip, which can choose the wheels of other versions: those may have no pip.
    unfinished = target.with_suffix(".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    options = ["--python-version", minor, "--only-binary", ":all:", "--no-deps", "--quiet"]
    pip = [sys.executable, "-m", "pip", "install", *options]
    done = subprocess.run(
        [*pip, "--target", str(unfinished), requirement], capture_output=True, check=False
    )
    if done.returncode == 0:
        unfinished.rename(target)
    return done.returncode == 0

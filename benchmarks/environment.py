"""Makes the virtual environment that every system runs in, and runs the benchmark there.

Runs on whatever Python there is, before anything is installed: the standard library alone.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

TOP = Path(__file__).resolve().parents[1]
HOME = TOP / ".bench"
_REQUIREMENTS = TOP / "benchmarks" / "requirements.txt"
_OLDEST = (3, 11)


def pythons() -> list[str]:
    """The Pythons of this machine that will do, newest first."""
    found: dict[tuple[int, ...], str] = {}
    for candidate in _candidates():
        version = _version(candidate)
        if version is not None and version >= _OLDEST:
            found.setdefault(version, candidate)
    return [found[version] for version in sorted(found, reverse=True)]


def _candidates() -> Iterator[str]:
    for minor in range(20, _OLDEST[1] - 1, -1):
        path = shutil.which(f"python3.{minor}")
        if path is not None:
            yield path
    yield from map(str, Path.home().glob(".pyenv/versions/*/bin/python3"))
    yield sys.executable


def _version(python: str) -> tuple[int, ...] | None:
    ask = "import sys, ensurepip; print('.'.join(map(str, sys.version_info[:3])))"
    done = subprocess.run([python, "-c", ask], capture_output=True, text=True, check=False)
    text = done.stdout.strip()
    # A free-threaded or pre-release build would be another comparison.
    return tuple(map(int, text.split("."))) if re.fullmatch(r"[\d.]+", text) else None


def make(python: str) -> Path:
    """Make the environment, or bring it up to date; its Python.

    The peers come at the versions of `requirements.txt`, Currant from this tree.
    """
    directory = HOME / "venv"
    ours = directory / "bin" / "python"
    wanted = "\n".join([python, _REQUIREMENTS.read_text(), (TOP / "pyproject.toml").read_text()])
    digest = hashlib.sha256(wanted.encode()).hexdigest()
    stamp = directory / "installed"
    if stamp.exists() and stamp.read_text() == digest:
        return ours
    if not ours.exists() or _version(str(ours)) != _version(python):
        shutil.rmtree(directory, ignore_errors=True)
        subprocess.run([python, "-m", "venv", directory], check=True)
    print("installing Currant and its peers into", directory, file=sys.stderr, flush=True)
    command = [str(ours), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    # Together, so that pip finds versions which fit all.
    command += ["--editable", f"{TOP}[embedded]", "--requirement", str(_REQUIREMENTS)]
    subprocess.run(command, check=True)
    stamp.write_text(digest)
    return ours


def main() -> None:
    """Make the environment and become `python -m benchmarks` in it."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--python")
    given, rest = parser.parse_known_args()
    HOME.mkdir(exist_ok=True)
    ours = make(given.python or pythons()[0])
    os.chdir(TOP)
    os.execv(ours, [str(ours), "-m", "benchmarks", *rest])


if __name__ == "__main__":
    main()

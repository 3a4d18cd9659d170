"""A Redis of the benchmark's own, for systems that need one, out of the system's packages."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from benchmarks import orphans
from benchmarks.environment import HOME

_START_SECONDS = 10


class Unavailable(Exception):
    """There is no Redis to be had here."""


@contextmanager
def running(settings: Mapping[str, str]) -> Iterator[str]:
    """A new, empty Redis on a Unix socket; its URL, as redis-py takes it.

    Args:
        settings: of redis.conf, beyond those that place it here. Without any it is as Debian
            ships it, with snapshots every few minutes and no log of writes.
    """
    program, libraries = _find()
    directory = Path(tempfile.mkdtemp(prefix="currant-bench-redis-", dir="/var/tmp"))
    socket = directory / "socket"
    configured = {
        "port": "0",
        "unixsocket": str(socket),
        "dir": str(directory),
        "daemonize": "no",
        **settings,
    }
    command = [str(program)]
    for name, value in configured.items():
        command += [f"--{name}", *([value] if value else ['""'])]
    process = subprocess.Popen(
        command,
        env={**os.environ, "LD_LIBRARY_PATH": os.pathsep.join(map(str, libraries))},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        preexec_fn=orphans.end_with_parent,
    )
    try:
        deadline = time.monotonic() + _START_SECONDS
        while not socket.exists():
            if process.poll() is not None or time.monotonic() > deadline:
                raise Unavailable("redis-server does not start")
            time.sleep(0.01)
        yield f"unix://{socket}"
    finally:
        process.terminate()
        process.wait(_START_SECONDS)
        shutil.rmtree(directory, ignore_errors=True)


def version() -> str:
    """Such as "7.0.15"."""
    program, libraries = _find()
    text = subprocess.run(
        [program, "--version"],
        env={**os.environ, "LD_LIBRARY_PATH": os.pathsep.join(map(str, libraries))},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    found = re.search(r"v=(\S+)", text)
    return found[1] if found else text.strip()


def _find() -> tuple[Path, list[Path]]:
    """The program, and the directories of libraries that it needs beside the system's."""
    installed = shutil.which("redis-server")
    if installed:
        return Path(installed), []
    tree = HOME / "redis"
    if not tree.exists():
        _download(tree)
    return tree / "usr/bin/redis-server", sorted((tree / "usr/lib").glob("*-linux-gnu"))


def _download(tree: Path) -> None:
    """Unpack the packages of Redis, and the libraries this system lacks, without installing any."""
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        raise Unavailable("no redis-server on the path, and no apt to get one with")
    simulate = ("apt-get", "install", "--simulate", "--no-install-recommends")
    try:
        plan = _output(*simulate, "-o", "Debug::NoLocking=1", "redis-server")
        packages = re.findall(r"^Inst (\S+)", plan, re.MULTILINE)
        HOME.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=HOME) as work:
            _output("apt-get", "download", "-qq", *packages, directory=work)
            unpacked = Path(work) / "tree"
            for package in Path(work).glob("*.deb"):
                _output("dpkg-deb", "--extract", str(package), str(unpacked))
            unpacked.rename(tree)
    except subprocess.CalledProcessError as error:
        raise Unavailable(f"{error.cmd[0]} failed: {error.stderr.strip()}") from error


def _output(*command: str, directory: str | None = None) -> str:
    return subprocess.run(command, cwd=directory, check=True, capture_output=True, text=True).stdout

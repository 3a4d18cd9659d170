"""The installed `currant` command as a process of its own: piped, or on a terminal."""

import fcntl
import os
import pty
import struct
import subprocess
import sysconfig
import termios
from collections.abc import Mapping
from pathlib import Path
from typing import Any

CURRANT = str(Path(sysconfig.get_path("scripts")) / "currant")


def environment(url: str | None, extra: Mapping[str, str] = {}) -> dict[str, str]:
    """The environment of the process: a database, and what a terminal would set."""
    own = {"TERM": "xterm-256color"}
    if url is not None:
        own["CURRANT_DATABASE_URL"] = url
    inherited = {
        name: value
        for name, value in os.environ.items()
        if name not in ("PYTHONUNBUFFERED", "NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES")
    }
    return {**inherited, **own, **extra}


def currant(
    url: str | None, *arguments: str, env: Mapping[str, str] = {}, **options: Any
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, its output piped."""
    return subprocess.run(
        [CURRANT, *arguments],
        env=environment(url, env),
        capture_output=True,
        text=True,
        timeout=60,
        **options,
    )


def start(url: str | None, *arguments: str, **options: Any) -> subprocess.Popen[str]:
    """Start a command in the background; its output is piped."""
    env = options.pop("env", {})
    return subprocess.Popen(
        [CURRANT, *arguments],
        env=environment(url, env),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def on_terminal(
    url: str, *arguments: str, columns: int, env: Mapping[str, str] = {}
) -> tuple[int, str]:
    """Run a command on a terminal of that width: its exit code and what the terminal was sent."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    with subprocess.Popen(
        [CURRANT, *arguments],
        env=environment(url, env),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    ) as process:
        os.close(theirs)
        shown = _read_all(ours)
    os.close(ours)
    return process.returncode, shown.replace("\r\n", "\n")


def _read_all(descriptor: int) -> str:
    chunks = []
    while True:
        try:
            chunk = os.read(descriptor, 65536)
        except OSError:  # Linux's way of saying that the other end is closed
            break
        if not chunk:
            break
        chunks.append(chunk)
    return b"".join(chunks).decode()

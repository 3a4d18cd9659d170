"""The programs the demonstration starts, each of which it also stops: server, workers, psql."""

import asyncio
import ctypes
import fcntl
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from currant import embedded
from currant.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
CURRANT = Path(sys.executable).with_name("currant")
_STOP_SECONDS = 15


def default_home() -> Path:
    """A directory beside the one of the user's own embedded server, which stays untouched."""
    if home := os.environ.get("CURRANT_HOME"):
        return Path(home).absolute() / "demo"
    if os.geteuid() == 0:
        return Path("/var/lib/currant/demo")
    return Path.home() / ".local" / "share" / "currant" / "demo"


@asynccontextmanager
async def postgres(home: Path, *, keep: bool, on_wait: Callable[[], None]) -> AsyncIterator[str]:
    """A running embedded Postgres of the demonstration's own; its URL.

    A second demonstration in the same directory waits until the first is over.
    """
    for directory in (home.parent, home):
        if not directory.exists():
            directory.mkdir(parents=True)
            # Root's server runs as somebody else, who has to pass through.
            directory.chmod(0o711 if os.geteuid() == 0 else 0o700)
    settings = Settings(home=home)
    with (home / "demo.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            on_wait()
            while not _try_lock(lock.fileno()):  # noqa: ASYNC110 (nobody tells)
                await asyncio.sleep(0.2)
        try:
            yield await asyncio.to_thread(embedded.database_url, settings)
        finally:
            if not keep:
                await asyncio.to_thread(embedded.stop, settings)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


async def lines_of(*command: str | Path, environment: Mapping[str, str]) -> AsyncIterator[str]:
    """The output of a program, line by line.

    Raises:
        RuntimeError: it failed; the message is the last it said.
    """
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    line = ""
    try:
        assert process.stdout is not None
        async for raw in process.stdout:
            line = raw.decode(errors="replace").rstrip()
            yield line
        if await process.wait() != 0:
            raise RuntimeError(f"{command[0]} failed: {line}")
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def psql() -> Path:
    """A psql: the system's, else the one that comes with the embedded server."""
    found = shutil.which("psql")
    return Path(found) if found else embedded.installation().program("psql")


class WorkerProcess:
    """One `currant worker`, in a process of its own that ends with this one."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, log: Path) -> None:
        self.name = name
        self.process = process
        self.log = log

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        if self.process.returncode is None:
            self.process.send_signal(number)

    async def ended(self) -> int:
        """Its exit code, once it has ended; killed if that takes too long."""
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                return await self.process.wait()
        except TimeoutError:
            self.send(signal.SIGKILL)
            return await self.process.wait()


@asynccontextmanager
async def workers(
    names: list[str], *arguments: str, logs: Path, environment: Mapping[str, str]
) -> AsyncIterator[list[WorkerProcess]]:
    """Running workers, stopped in an orderly way at the end."""
    started: list[WorkerProcess] = []
    try:
        for name in names:
            log = logs / f"{name.replace(' ', '-')}.log"
            with log.open("wb") as output:
                process = await asyncio.create_subprocess_exec(
                    CURRANT,
                    "worker",
                    *arguments,
                    cwd=ROOT,
                    env={**os.environ, **environment},
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    # Ctrl-C is for the demonstration, which then stops its workers itself.
                    start_new_session=True,
                    preexec_fn=_end_with_parent,
                )
            started.append(WorkerProcess(name, process, log))
        yield started
    finally:
        for worker in started:
            worker.send(signal.SIGCONT)
            worker.send(signal.SIGTERM)
        await asyncio.gather(*(worker.ended() for worker in started))


def _end_with_parent() -> None:
    if sys.platform == "linux":
        set_parent_death_signal = 1
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGTERM)

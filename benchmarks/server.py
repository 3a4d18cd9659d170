"""A Postgres server of the benchmark's own: the same settings for all, durable, on a disk."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, Final

import psycopg
from psycopg import sql

from benchmarks import orphans
from currant.cluster import Cluster, Installation, bundled_installation, choose_launcher

# Everything else is Postgres's default: fsync, synchronous_commit and full_page_writes are on.
SETTINGS: Final = {
    "shared_buffers": "1GB",
    "max_connections": "300",
    "max_wal_size": "4GB",
}
# Loaded, as on most servers, but silent unless a workload turns it on for its database.
_STATEMENTS: Final = {
    "shared_preload_libraries": "pg_stat_statements",
    "pg_stat_statements.track": "none",
}
_START_SECONDS = 60


@dataclass(frozen=True)
class Usage:
    """Counters of a server and one of its databases; subtract two to know what lay between."""

    cpu_seconds: float
    wal_bytes: int
    commits: int
    statements: int | None

    def __sub__(self, other: Usage) -> Usage:
        counted = None
        if self.statements is not None and other.statements is not None:
            counted = self.statements - other.statements
        return Usage(
            self.cpu_seconds - other.cpu_seconds,
            self.wal_bytes - other.wal_bytes,
            self.commits - other.commits,
            counted,
        )


def find_installation(wanted: str | None = None) -> Installation:
    """The programs of a server: of the system's newest, or of the wheel.

    Args:
        wanted: a major version of the system's, or "embedded".

    Raises:
        LookupError: there is none.
    """
    found = {
        int(path.parent.name): path
        for path in Path("/usr/lib/postgresql").glob("*/bin")
        if path.parent.name.isdigit() and (path / "initdb").exists()
    }
    if wanted is not None and wanted != "embedded":
        return _of_system(found[int(wanted)])
    if found and wanted is None:
        return _of_system(found[max(found)])
    bundled = bundled_installation()
    if bundled is None:
        raise LookupError("no server: install PostgreSQL, or currant[embedded]")
    return bundled


def _of_system(programs: Path) -> Installation:
    return Installation(Path("/"), bindir=str(programs.relative_to("/")), parts=())


class Server:
    """One server. It lives in a directory of its own and is gone with it."""

    def __init__(
        self,
        installation: Installation,
        settings: Mapping[str, str] = SETTINGS,
        parent: Path = Path("/var/tmp"),  # /tmp may be memory
    ) -> None:
        directory = Path(tempfile.mkdtemp(prefix="currant-bench-", dir=parent))
        directory.chmod(0o711)
        self.directory = directory
        self.settings = dict(settings)
        if _has_statements(installation):
            self.settings |= _STATEMENTS
        self._cluster = Cluster(directory / "pg")
        self._launcher = choose_launcher(installation, directory, directory / "runtime")
        self._process: subprocess.Popen[bytes] | None = None
        self._numbers = count(1)

    def url(self, database: str = "postgres") -> str:
        """The superuser's URL of a database."""
        return self._cluster.url(database)

    def start(self) -> None:
        """Start, and wait until connections are accepted."""
        self._cluster.prepare(self._launcher, self.settings)
        with self._cluster.log.open("ab") as log:
            self._process = self._launcher.popen(
                "postgres",
                *("-D", str(self._cluster.data)),
                *self._cluster.server_options(),
                output=log.fileno(),
                preexec=orphans.end_with_parent,
            )
        deadline = time.monotonic() + _START_SECONDS
        while True:
            try:
                psycopg.connect(self.url(), connect_timeout=5).close()
            except psycopg.OperationalError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"no server: {self._cluster.last_words(20)}") from None
                time.sleep(0.05)
            else:
                return

    def remove(self) -> None:
        """Stop it and remove all it has."""
        if self._process is not None:
            self._process.send_signal(2)  # SIGINT: every session is ended
            self._process.wait(_START_SECONDS)
        shutil.rmtree(self.directory, ignore_errors=True)

    def version(self) -> str:
        """Such as "15.18"."""
        return str(self._ask("show server_version")).split()[0]

    def create_database(self, template: str | None = None) -> str:
        """Make an empty database, or a copy of another; its name."""
        name = f"bench_{next(self._numbers)}"
        made = sql.SQL("create database {} template {} strategy file_copy")
        if self._launcher.major_version() < 15:
            made = sql.SQL("create database {} template {}")
        source = sql.Identifier(template or "template0")
        self._administer(made.format(sql.Identifier(name), source))
        return name

    def drop_database(self, name: str) -> None:
        """Remove a database, whoever is still connected to it."""
        self._administer(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))

    def usage(self, url: str) -> Usage:
        """The counters of now: of the server's processes, and of the database of the URL."""
        with psycopg.connect(url, autocommit=True) as connection:
            row = connection.execute(
                """
                select pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint,
                    (select xact_commit from pg_stat_database where datname = current_database())
                """
            ).fetchone()
            assert row is not None
            statements = _statements(connection)
        return Usage(self.cpu_seconds(), row[0], row[1], statements)

    def count_statements(self, url: str) -> bool:
        """Have statements of the database's new sessions counted; False if that is impossible."""
        if "shared_preload_libraries" not in self.settings:
            return False
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("create extension if not exists pg_stat_statements")
            connection.execute(
                sql.SQL("alter database {} set pg_stat_statements.track = 'top'").format(
                    sql.Identifier(connection.info.dbname)
                )
            )
        return True

    def cpu_seconds(self) -> float:
        """What the server's processes have used, those that have ended included."""
        assert self._process is not None
        postmaster = _postmaster(self._cluster.data) or self._process.pid
        tick = os.sysconf("SC_CLK_TCK")
        ticks = sum(_times(postmaster))
        for child in _children(postmaster):
            ticks += sum(_times(child)[:2])
        return ticks / tick

    def _administer(self, statement: sql.Composed) -> None:
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(statement)

    def _ask(self, statement: str) -> Any:
        with psycopg.connect(self.url(), autocommit=True) as connection:
            row = connection.execute(statement.encode()).fetchone()
        return None if row is None else row[0]


@contextmanager
def running(installation: Installation) -> Iterator[Server]:
    """A server that is gone afterwards."""
    server = Server(installation)
    try:
        server.start()
        yield server
    finally:
        server.remove()


def _has_statements(installation: Installation) -> bool:
    where = installation.base / installation.bindir
    library = subprocess.run(
        [where / "pg_config", "--pkglibdir"], capture_output=True, text=True, check=False
    ).stdout.strip()
    return bool(library) and (Path(library) / "pg_stat_statements.so").exists()


def _statements(connection: psycopg.Connection[Any]) -> int | None:
    there = connection.execute("select to_regclass('pg_stat_statements')").fetchone()
    if there is None or there[0] is None:
        return None
    row = connection.execute(
        """
        select coalesce(sum(calls), 0)::bigint from pg_stat_statements
        where dbid = (select oid from pg_database where datname = current_database())
        """
    ).fetchone()
    return None if row is None else int(row[0])


def _postmaster(data: Path) -> int | None:
    # Started through `unshare` it is a grandchild.
    try:
        return int((data / "postmaster.pid").read_text().splitlines()[0])
    except (OSError, ValueError, IndexError):
        return None


def _children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in tasks.read_text().split()] if tasks.exists() else []


def _times(pid: int) -> list[int]:
    """utime, stime, cutime, cstime in ticks."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return [0, 0, 0, 0]
    fields = re.sub(r"^.*\) ", "", text, flags=re.DOTALL).split()
    return [int(field) for field in fields[11:15]]

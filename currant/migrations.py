"""Brings a database to the schema this package speaks, and tells how the two compare.

The changes themselves are the SQL scripts under `sql/`, in the order of `sqitch.plan`. Everything
here happens before or beside the schema, so the few statements it needs are not in `database`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import conninfo, sql

from currant.errors import (
    DatabaseUnavailable,
    MigrationError,
    SchemaMissing,
    SchemaNewer,
    SchemaOlder,
)
from currant.sqitch import Report, Sqitch, directory

# What `currant.version()` of the schema in this package returns.
SCHEMA_VERSION = "0.1.0"

_PROJECT = "currant"
_CONNECT_SECONDS = 10


@dataclass(frozen=True, slots=True)
class SchemaStatus:
    """How the schema of a database stands against this package.

    Attributes:
        version: what the database has, or None.
        package_version: what the package speaks.
        deployed: the changes that Sqitch has recorded.
        pending: the changes of the plan that it has not.
        is_managed: whether Sqitch knows this schema; one that came from `currant schema` is not
            managed until the next `deploy` adopts it.
    """

    version: str | None
    package_version: str
    deployed: tuple[str, ...]
    pending: tuple[str, ...]
    is_managed: bool

    @property
    def is_current(self) -> bool:
        """Whether client and worker can use the database as it is."""
        return self.version == self.package_version


def deploy(url: str, *, report: Report | None = None) -> SchemaStatus:
    """Deploy what is missing; create the database itself if it does not exist.

    Calling it again is safe, also by several processes at once: the second finds nothing to do.
    A schema that was deployed from `schema_script()` is adopted as it is.

    Args:
        report: called with a line of progress at a time.

    Returns:
        The status afterwards.

    Raises:
        SqitchMissing: sqitch or psql is not installed.
        DatabaseUnavailable: the server cannot be reached.
        MigrationError: a change failed, or the user may not make it.
    """
    say = report or _say_nothing
    runner = Sqitch(url)
    create_database(url, report=say)
    before = status(url)
    if before.version is None:
        _require_create_privilege(url)
    elif _order(before.version) > _order(SCHEMA_VERSION):
        check_schema(before.version)
    elif not before.is_managed:
        say(f"adopting the schema {before.version} that is there")
        runner.run("deploy", "--log-only", *_target_of(before.version), report=say)
    runner.run("deploy", "--verify", report=say)
    after = status(url)
    check_schema(after.version)
    return after


def create_database(url: str, *, report: Report | None = None) -> None:
    """Create the database that the URL names, if the server runs and does not have it.

    Raises:
        DatabaseUnavailable: the server cannot be reached.
        MigrationError: the user may not create databases.
    """
    try:
        psycopg.connect(url, connect_timeout=_CONNECT_SECONDS).close()
    except psycopg.OperationalError as error:
        missing = _missing_database(url)
        if missing is None:
            raise _unavailable(error) from error
        name, maintenance_url = missing
        (report or _say_nothing)(f"creating database {name}")
        _create_database(name, maintenance_url)


def status(url: str) -> SchemaStatus:
    """How the database stands; needs no Sqitch.

    Raises:
        DatabaseUnavailable: the server or the database cannot be reached.
    """
    with _connected(url) as connection:
        version = _deployed_version(connection)
        deployed = _recorded_changes(connection)
    done = set(deployed)
    pending = [change.name for change in _plan() if change.name not in done]
    return SchemaStatus(version, SCHEMA_VERSION, tuple(deployed), tuple(pending), bool(deployed))


def verify(url: str, *, report: Report | None = None) -> None:
    """Check every deployed change against the database by its verify script.

    Raises:
        SqitchMissing: sqitch or psql is not installed.
        DatabaseUnavailable: the server or the database cannot be reached.
        MigrationError: something is not as it was deployed; the message says which change.
    """
    runner = Sqitch(url)
    check_schema(status(url).version)
    runner.run("verify", report=report or _say_nothing)


def check_schema(version: str | None) -> None:
    """Make sure that the schema of a database is the one this package speaks.

    Args:
        version: what `currant.version()` returned, or None where there is no schema.

    Raises:
        SchemaMissing, SchemaOlder, SchemaNewer: it is not; the message says what to run.
    """
    if version is None:
        raise SchemaMissing("the database has no schema currant", hint="run `currant migrate`")
    found, wanted = _order(version), _order(SCHEMA_VERSION)
    if found < wanted:
        raise SchemaOlder(
            f"the database has schema {version}, and this package needs {SCHEMA_VERSION}",
            hint="run `currant migrate`",
        )
    if found > wanted:
        raise SchemaNewer(
            f"the database has schema {version}, and this package knows {SCHEMA_VERSION} only",
            hint="upgrade the currant package on this machine",
        )


def schema_script() -> str:
    """The whole schema as one SQL script in one transaction, for people with their own tool."""
    parts = [f"-- Currant's schema, version {SCHEMA_VERSION}.", "begin;"]
    for change in _plan():
        text = change.deploy_script.read_text(encoding="utf-8")
        parts.append(_TRANSACTION_LINE.sub("", text).strip())
    return "\n\n".join([*parts, "commit;"]) + "\n"


# The scripts' own transactions; a `begin` inside a function body has no semicolon.
_TRANSACTION_LINE = re.compile(r"^(?:begin|commit);[ \t]*\n?", re.MULTILINE | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _Change:
    name: str
    deploy_script: Path


def _plan() -> list[_Change]:
    """The changes in the order of the plan."""
    top = directory()
    lines = (top / "sqitch.plan").read_text(encoding="utf-8").splitlines()
    names = [line.split()[0] for line in lines if line and line[0] not in "%@#"]
    return [_Change(name, top / "sql" / "deploy" / f"{name}.sql") for name in names]


def _target_of(version: str) -> list[str]:
    # An older schema is the one that was tagged with its release.
    return [] if version == SCHEMA_VERSION else ["--to-change", f"@v{version}"]


def _order(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version))


@contextmanager
def _connected(url: str) -> Iterator[psycopg.Connection]:
    try:
        connection = psycopg.connect(url, autocommit=True, connect_timeout=_CONNECT_SECONDS)
    except psycopg.ProgrammingError as error:
        raise MigrationError(f"the database URL cannot be read: {error}") from error
    except psycopg.OperationalError as error:
        raise _unavailable(error) from error
    with connection:
        yield connection


def _unavailable(error: psycopg.OperationalError) -> DatabaseUnavailable:
    reason = " ".join(str(error).split())
    return DatabaseUnavailable(
        "cannot connect to the database",
        detail=reason,
        hint="check that the server runs and CURRANT_DATABASE_URL is right",
    )


def _missing_database(url: str) -> tuple[str, str] | None:
    """The database's name and a URL to create it from, if its absence is what is wrong."""
    # A refused connection carries no SQLSTATE, so another database of the server is asked.
    maintenance_url = conninfo.make_conninfo(url, dbname="postgres")
    try:
        with psycopg.connect(maintenance_url, connect_timeout=_CONNECT_SECONDS) as connection:
            parsed = conninfo.conninfo_to_dict(url)
            name = str(parsed.get("dbname") or connection.info.user)
            found = connection.execute("select from pg_database where datname = %s", [name])
            return (name, maintenance_url) if found.rowcount == 0 else None
    except psycopg.OperationalError:
        return None


def _create_database(name: str, maintenance_url: str) -> None:
    with _connected(maintenance_url) as connection:
        user = connection.info.user
        try:
            connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
        except (psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation):
            # Somebody else was faster, which is as good.
            return
        except psycopg.errors.InsufficientPrivilege as error:
            raise MigrationError(
                f"the database {name!r} does not exist, and {user!r} may not create it",
                hint=f"let an administrator run: createdb --owner={user} {name}",
            ) from error


def _require_create_privilege(url: str) -> None:
    with _connected(url) as connection:
        allowed = _one(connection, "select has_database_privilege(current_database(), 'create')")
        if not allowed:
            user, name = connection.info.user, connection.info.dbname
            raise MigrationError(
                f"{user!r} may not create a schema in the database {name!r}",
                hint=f"let an administrator run: grant create on database {name} to {user}",
            )


def _deployed_version(connection: psycopg.Connection) -> str | None:
    if _one(connection, "select to_regprocedure('currant.version()')") is None:
        return None
    return str(_one(connection, "select currant.version()"))


def _recorded_changes(connection: psycopg.Connection) -> list[str]:
    if _one(connection, "select to_regclass('sqitch.changes')") is None:
        return []
    rows = connection.execute(
        "select change from sqitch.changes where project = %s order by committed_at", [_PROJECT]
    )
    return [str(change) for (change,) in rows]


def _one(connection: psycopg.Connection, query: str) -> object:
    row = connection.execute(query.encode()).fetchone()
    return row[0] if row else None


def _say_nothing(_line: str) -> None:
    return None

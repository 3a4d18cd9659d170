"""Deploying with Sqitch: what it makes, what it refuses, and that every change can be undone."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from hatchling.builders.wheel import WheelBuilder
from psycopg import conninfo, sql

from currant import migrations
from currant.errors import (
    DatabaseUnavailable,
    MigrationError,
    SchemaMissing,
    SchemaNewer,
    SchemaOlder,
    SqitchMissing,
)
from currant.sqitch import find_psql
from tests.support.fixtures import CONSTRAINTS
from tests.support.servers import Server

ROOT = Path(__file__).resolve().parents[2]
WITHOUT_SQITCHES_OWN = ("--exclude-schema", "sqitch")


@pytest.fixture
def stranger(server: Server) -> Iterator[str]:
    """A role that may log in and nothing else."""
    name = f"stranger_{os.getpid()}"
    server.administer(sql.SQL("create role {} login").format(sql.Identifier(name)))
    yield name
    server.administer(sql.SQL("drop role {}").format(sql.Identifier(name)))


@pytest.fixture
def future_schema(empty_database_url: str) -> str:
    """A database whose schema says that it is of the year 2999."""
    with psycopg.connect(empty_database_url) as connection:
        connection.execute("create schema currant")
        connection.execute(
            "create function currant.version() returns text language sql as $$ select '2999.0' $$"
        )
    return empty_database_url


def dump(server: Server, url: str) -> str:
    """The schema as pg_dump writes it, without the key that it makes up for every run."""
    # The server's own pg_dump: an older one prints what a newer minor keeps for itself.
    done = server.launcher.run(
        "pg_dump", "--schema-only", *WITHOUT_SQITCHES_OWN, url, timeout_seconds=60
    )
    assert done.returncode == 0, done.stdout
    return "\n".join(line for line in done.stdout.splitlines() if "restrict" not in line)


def sqitch(url: str, *arguments: str) -> None:
    """Run Sqitch on the checkout as a developer would."""
    parameters = conninfo.conninfo_to_dict(url)
    variables = {f"PG{name.upper()}": str(value) for name, value in parameters.items()}
    variables["PGDATABASE"] = variables.pop("PGDBNAME")
    done = subprocess.run(
        ["sqitch", "-C", ROOT, *arguments, "--target", "db:pg:", "--client", find_psql(url)],
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ
        | variables
        | {"TZ": "UTC", "SQITCH_FULLNAME": "Test", "SQITCH_EMAIL": "t@t"},
    )
    assert done.returncode == 0, done.stdout


def execute(url: str, statement: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement.encode())


@pytest.mark.both_versions
def test_revert_undoes_exactly_what_deploy_did(server: Server, empty_database_url: str) -> None:
    before = dump(server, empty_database_url)
    migrations.deploy(empty_database_url)
    deployed = dump(server, empty_database_url)

    migrations.verify(empty_database_url)
    sqitch(empty_database_url, "revert", "-y")
    reverted = dump(server, empty_database_url)
    migrations.deploy(empty_database_url)

    assert reverted == before
    assert dump(server, empty_database_url) == deployed


@pytest.mark.both_versions
def test_the_script_makes_the_same_schema_as_sqitch(
    server: Server, database_url: str, empty_database_url: str
) -> None:
    migrations.deploy(empty_database_url)
    execute(empty_database_url, CONSTRAINTS.read_text())

    # The databases of tests are made by the script.
    assert dump(server, database_url) == dump(server, empty_database_url)


def test_deploying_creates_the_database_and_reports_progress(server: Server) -> None:
    name = f"made by deploy {os.getpid()}"
    url = server.url(name)
    lines: list[str] = []
    try:
        status = migrations.deploy(url, report=lines.append)
    finally:
        server.drop_database(name)

    assert lines[0] == f"creating database {name}"
    assert any("version" in line for line in lines)
    assert status.is_current
    assert status.is_managed
    assert status.pending == ()


def test_deploying_again_changes_nothing(database_url: str) -> None:
    before = migrations.status(database_url)

    assert migrations.deploy(database_url) == before


def test_deploys_at_the_same_time_all_succeed(empty_database_url: str) -> None:
    statuses: list[migrations.SchemaStatus] = []
    threads = [
        threading.Thread(target=lambda: statuses.append(migrations.deploy(empty_database_url)))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [status.is_current for status in statuses] == [True, True]


def test_a_schema_from_the_script_is_adopted(empty_database_url: str) -> None:
    execute(empty_database_url, migrations.schema_script())
    before = migrations.status(empty_database_url)

    after = migrations.deploy(empty_database_url)

    assert (before.is_current, before.is_managed) == (True, False)
    assert (after.is_current, after.is_managed, after.pending) == (True, True, ())


def test_an_empty_database_has_everything_pending(empty_database_url: str) -> None:
    status = migrations.status(empty_database_url)

    assert status.version is None
    assert not status.is_current
    assert status.pending[0] == "schema"
    with pytest.raises(SchemaMissing, match="currant migrate"):
        migrations.verify(empty_database_url)


def test_a_newer_schema_is_left_alone(future_schema: str) -> None:
    with pytest.raises(SchemaNewer, match="upgrade"):
        migrations.deploy(future_schema)


def test_an_older_schema_is_refused_at_start(future_schema: str) -> None:
    execute(
        future_schema,
        "create or replace function currant.version() returns text"
        " language sql as $$ select '0.0.1' $$",
    )

    with pytest.raises(SchemaOlder, match="currant migrate"):
        migrations.check_schema(migrations.status(future_schema).version)


def test_verify_names_the_change_that_is_no_longer_there(database_url: str) -> None:
    execute(database_url, "drop function currant.enqueue_many")

    with pytest.raises(MigrationError, match="enqueue_many"):
        migrations.verify(database_url)


def test_a_user_who_may_not_create_the_database_is_told_who_can(
    server: Server, stranger: str
) -> None:
    url = conninfo.make_conninfo(server.url("not_there"), user=stranger)

    with pytest.raises(MigrationError, match=f"may not create it.*createdb --owner={stranger}"):
        migrations.deploy(url)


def test_a_user_who_may_not_create_a_schema_is_told_who_can(
    empty_database_url: str, stranger: str
) -> None:
    url = conninfo.make_conninfo(empty_database_url, user=stranger)

    with pytest.raises(MigrationError, match=r"may not create a schema.*grant create on"):
        migrations.deploy(url)


def test_a_server_that_is_down_is_named(tmp_path: Path) -> None:
    url = f"postgresql://u@/db?host={tmp_path}"

    for call in (migrations.deploy, migrations.status, migrations.verify):
        with pytest.raises(DatabaseUnavailable, match=r"cannot connect.*CURRANT_DATABASE_URL"):
            call(url)


def test_sqitch_without_its_driver_is_named(
    empty_database_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = tmp_path / "sqitch"
    program.write_text("#!/bin/sh\necho 'DBD::Pg 2.0 required to manage PostgreSQL' >&2\nexit 2\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")

    with pytest.raises(SqitchMissing, match="libdbd-pg-perl"):
        migrations.deploy(empty_database_url)


def test_a_failing_change_is_reported_with_what_postgres_said(empty_database_url: str) -> None:
    execute(empty_database_url, "create schema currant")

    with pytest.raises(MigrationError, match='schema "currant" already exists'):
        migrations.deploy(empty_database_url)


def test_the_users_own_sqitch_configuration_does_not_matter(
    empty_database_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    configuration = tmp_path / "sqitch.conf"
    configuration.write_text("[core]\n\tengine = sqlite\n\tplan_file = nowhere.plan\n")
    monkeypatch.setenv("SQITCH_CONFIG", str(configuration))
    monkeypatch.setenv("SQITCH_TARGET", "db:sqlite:nowhere")
    monkeypatch.chdir(tmp_path)

    assert migrations.deploy(empty_database_url).is_current


def test_the_wheel_brings_the_schema_along(empty_database_url: str, tmp_path: Path) -> None:
    [wheel] = WheelBuilder(str(ROOT)).build(directory=str(tmp_path))
    unpacked = tmp_path / "unpacked"
    subprocess.run([sys.executable, "-m", "zipfile", "-e", wheel, unpacked], check=True)

    def currant(*arguments: str) -> str:
        code = "from currant import cli; assert '/unpacked/' in cli.__file__; cli.main()"
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments],
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=tmp_path,
            env=os.environ
            | {"PYTHONPATH": str(unpacked), "CURRANT_DATABASE_URL": empty_database_url},
        )
        assert done.returncode == 0, done.stdout
        return done.stdout

    assert currant("schema") == migrations.schema_script()
    assert f"schema {migrations.SCHEMA_VERSION}" in currant("migrate")
    assert currant("migrate", "--verify")
    assert migrations.status(empty_database_url).is_managed

"""Databases for tests: new ones each time, and none of them left."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

import currant
from currant import DatabaseUnavailable, EmbeddedError, SettingsError, embedded, task
from currant.settings import Settings, unknown_variables
from currant.testing import Databases, Environment, UnfitDatabase, databases, new_database


@task(name="kit.once")
def once() -> str:
    return "once"


@pytest.fixture
def admin(currant_server: str) -> Iterator[psycopg.Connection]:
    """A connection to the server's maintenance database."""
    with psycopg.connect(currant_server, autocommit=True) as connection:
        yield connection


def names(admin: psycopg.Connection) -> set[str]:
    """The databases of tests that are there."""
    rows = admin.execute("select datname from pg_database where datname like 'currant_test_%'")
    return {name for (name,) in rows}


def test_each_is_new_and_goes_again(currant_server: str, admin: psycopg.Connection) -> None:
    before = names(admin)

    with Databases(currant_server) as made:
        with made.database() as first, Environment(first) as environment:
            environment.run_sync(once)
        with made.database() as second, psycopg.connect(second) as connection:
            row = connection.execute("select count(*) from currant.executions").fetchone()
        assert first != second

    assert row == (0,)
    assert names(admin) == before


def test_all_in_one(currant_server: str, admin: psycopg.Connection) -> None:
    before = names(admin)

    with new_database(currant_server) as url, Environment(url) as environment:
        assert os.environ["CURRANT_DATABASE_URL"] == url
        assert environment.run_sync(once) == "once"

    assert names(admin) == before
    assert "CURRANT_DATABASE_URL" not in os.environ


def test_sessions_that_are_left_do_not_keep_it(
    currant_server: str, admin: psycopg.Connection
) -> None:
    before = names(admin)

    with Databases(currant_server) as made, made.database() as url:
        left = psycopg.connect(url)

    assert names(admin) == before
    with pytest.raises(psycopg.OperationalError):
        left.execute("select 1")
    left.close()


def test_what_a_killed_run_left_is_removed(currant_server: str, admin: psycopg.Connection) -> None:
    admin.execute("create database currant_test_0badcafe_main_7")

    with Databases(currant_server):
        assert "currant_test_0badcafe_main_7" not in names(admin)


def test_what_another_run_uses_is_kept(currant_server: str, admin: psycopg.Connection) -> None:
    with Databases(currant_server) as made, made.database() as url:
        with Databases(currant_server):
            pass

        with psycopg.connect(url) as connection:
            assert connection.info.dbname in names(admin)


def test_databases_of_similar_names_are_kept(
    currant_server: str, admin: psycopg.Connection
) -> None:
    admin.execute("create database currant_test_mine")
    try:
        with Databases(currant_server):
            assert "currant_test_mine" in names(admin)
    finally:
        admin.execute("drop database currant_test_mine")


def test_named_database_need_not_exist(currant_server: str) -> None:
    url = databases.with_database(currant_server, "not_yet")

    with Databases(url) as made, made.database() as found, Environment(found) as environment:
        assert environment.run_sync(once) == "once"


def test_variable_names_the_server(currant_server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CURRANT_TEST_DATABASE_URL", currant_server)

    with new_database() as url, psycopg.connect(url) as connection:
        assert connection.info.dbname.startswith("currant_test_")


def test_other_forms_of_urls(currant_server: str) -> None:
    with psycopg.connect(currant_server) as connection:
        conninfo = f"host={connection.info.host} user={connection.info.user} dbname=postgres"

    with new_database(conninfo) as url, psycopg.connect(url) as connection:
        assert connection.info.dbname.startswith("currant_test_")


def test_embedded_server_is_used_where_none_is_named(
    server_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = server_directory / "home-of-the-kit"
    monkeypatch.setenv("CURRANT_HOME", str(home))
    monkeypatch.setenv("CURRANT_DATABASE_URL", "postgresql:///production?host=/nowhere")
    try:
        with new_database() as url, Environment(url) as environment:
            assert environment.run_sync(once) == "once"
            with psycopg.connect(url) as connection:
                rows = connection.execute("select datname from pg_database").fetchall()
        # Not the one that people work with.
        assert ("currant",) not in rows
        assert url.startswith("postgresql://currant@")
    finally:
        embedded.stop(Settings(home=home))
        shutil.rmtree(home, ignore_errors=True)


def test_variable_is_none_of_the_settings() -> None:
    assert unknown_variables({databases.SERVER_VARIABLE: "x", "CURRANT_TSET": "x"}) == [
        "CURRANT_TSET"
    ]


@pytest.mark.parametrize(
    ("url", "other"),
    [
        (
            "postgresql://ada@db:5433/shop?sslmode=require",
            "postgresql://ada@db:5433/x?sslmode=require",
        ),
        ("postgresql://ada@db", "postgresql://ada@db/x"),
        ("postgresql:///shop?host=/tmp/pg", "postgresql:///x?host=/tmp/pg"),
        ("postgres://ada:s%2Fecret@db/shop", "postgres://ada:s%2Fecret@db/x"),
        ("host=db dbname=shop", "dbname=x host=db"),
    ],
)
def test_url_of_another_database(url: str, other: str) -> None:
    assert databases.with_database(url, "x") == other


def test_role_without_the_right_to_create_databases(
    currant_server: str, admin: psycopg.Connection
) -> None:
    role = f"kit_{os.getpid()}_plain"
    admin.execute(f"create role {role} login")
    try:
        url = currant_server.replace("://currant@", f"://{role}@")
        with (
            pytest.raises(UnfitDatabase, match=f"{role}.*createdb"),
            Databases(url) as made,
            made.database(),
        ):
            pass
    finally:
        admin.execute(f"drop role {role}")


def test_server_that_is_not_there() -> None:
    with pytest.raises(DatabaseUnavailable):
        Databases("postgresql:///x?host=/nowhere").__enter__()


def test_url_that_cannot_be_read() -> None:
    with pytest.raises(SettingsError, match="CURRANT_TEST_DATABASE_URL"):
        Databases("nonsense")


def test_no_server_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("currant.embedded.bundled_installation", lambda: None)

    with pytest.raises(EmbeddedError, match=r"CURRANT_TEST_DATABASE_URL.*currant\[embedded\]"):
        Databases()


def test_what_the_test_configures_itself_ends_with_it(
    currant_db: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CURRANT_DATABASE_URL", "postgresql:///x?host=/nowhere")

    with databases.using(currant_db):
        currant.configure("postgresql:///y?host=/nowhere")

    # What was used before is the fixture's again.
    assert once.queue_sync().status_sync() == "pending"

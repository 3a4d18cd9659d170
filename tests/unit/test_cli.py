import logging
import sys
from collections.abc import Iterator
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from currant import database, embedded, errors, migrations
from currant.cli import logs, main
from currant.cli.session import Command

ID = "0190c000-0000-7000-8000-000000000000"


def run(*arguments: str, **given: Any) -> Result:
    return CliRunner().invoke(main, arguments, **given)


def complaint(result: Result) -> str:
    lines = result.stderr.splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("currant: ")
    return lines[0]


@pytest.fixture(autouse=True)
def _logging() -> Iterator[None]:
    """What the command line sets up is undone."""
    root, raises = logging.getLogger(), logging.raiseExceptions
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level
    logging.raiseExceptions = raises
    logging.getLogger("asyncio").setLevel(logging.NOTSET)


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Have every connection fail with the error given."""

    def fail_with(error: BaseException) -> None:
        def fail(*_: object, **__: object) -> str:
            raise error

        monkeypatch.setattr(embedded, "database_url", fail)

    return fail_with


@pytest.mark.parametrize("name", list(main.commands))
def test_every_command_has_help(name: str) -> None:
    result = run(name, "--help")

    assert result.exit_code == 0
    assert f"Usage: main {name}" in result.stdout
    assert "--debug" in result.stdout
    assert ("--database-url" in result.stdout) == (name != "schema")


def test_options_of_all_commands_may_stand_before_the_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[Any] = []

    def fail(settings: Any, **_: object) -> str:
        seen.append(settings)
        raise ValueError("broken")

    monkeypatch.setattr(embedded, "database_url", fail)

    result = run("--debug", "--database-url", "postgresql://x/y", "list")

    assert "Traceback" in result.stderr
    assert [one.database_url for one in seen] == ["postgresql://x/y"]


def test_the_commands_are_those_of_the_manual() -> None:
    assert " ".join(main.commands) == (
        "migrate schema url worker register enqueue status list history signal cancel retry"
        " queues workers versions replay"
    )


def test_the_list_of_commands_fits_eighty_columns() -> None:
    result = run("--help")

    assert result.exit_code == 0
    assert "..." not in result.stdout.split("Commands:")[1]
    assert all(len(line) <= 80 for line in result.stdout.splitlines())


def test_without_a_command_there_is_help_and_wrong_usage() -> None:
    result = run()

    assert result.exit_code == 2
    assert "Commands:" in result.stderr


def test_the_version_is_the_packages() -> None:
    import currant

    assert currant.__version__ in run("--version").stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["lst"], ["no such command 'lst'", "list"]),
        (["list", "--colour"], ["--colour", "currant list --help".replace("currant", "main")]),
        (["list", "--limit", "0"], ["--limit", "x>=1"]),
        (["list", "--limit", "many"], ["--limit", "many"]),
        (["list", "--status", "done"], ["--status", "'pending'", "'cancelled'"]),
        (["list", "--since", "x"], ["--since", "30m"]),
        (["status", "7"], ["'7'", "UUID"]),
        (["status"], ["missing argument", "ID"]),
        (["cancel"], ["missing argument", "ID"]),
        (["retry", ID, "7"], ["'7'", "UUID"]),
        (["enqueue", "f", "{a: 1}"], ["is not JSON", '{"name": "value"}']),
        (["enqueue", "f", "1"], ["neither an object", "nor an array"]),
        (["enqueue", "f", "--options", "[]"], ["--options", "object"]),
        (["enqueue", "f", "--delay", "5x"], ["--delay", "1.5s"]),
        (["enqueue", "f", "--retries", "many"], ["--retries", "many"]),
        (["signal", ID, "go", "yes"], ["'[JSON]'", "is not JSON"]),
        (["signal", ID], ["missing the NAME", "ID NAME [JSON]", "signal --help"]),
        (["signal", ID, "go", "1", "2"], ["too many words: '2'", "ID NAME [JSON]"]),
        (["signal", "--to", "order", "k"], ["missing the NAME", "NAME [JSON]"]),
        (["signal"], ["missing the ID", "ID NAME [JSON]"]),
        (["signal", ID, "go", "--id", "zz"], ["--id", "'zz' is not a UUID"]),
        (["enqueue", "f", "--id", "foo"], ["--id", "'foo' is not a UUID"]),
        (["enqueue", "f", "--retries", "-1"], ["--retries", "x>=0"]),
        (["list", "--kind", "job"], ["--kind", "'workflow'"]),
        (["signal", "--to", "order"], ["'--to' requires 2 arguments"]),
        (["signal", "--to", "f", "k", ID, "go", "1"], ["too many words: '1'", "NAME [JSON]"]),
        (["signal", ID, "go", "--key", "k", "--id", ID], ["--key and --id"]),
        (["history", ID, "--all", "--json"], ["--all", "--json"]),
        (["status", ID, "--children", "-1"], ["--children", "x<=100000"]),
        (["replay"], ["nothing to replay", "ID, --function or --file"]),
        (["replay", "7"], ["'7'", "UUID"]),
        (["replay", "--file", "/nowhere.json"], ["/nowhere.json cannot be read", "check the path"]),
        (["migrate", "--status", "--verify"], ["do not go together"]),
        (["migrate", "--json"], ["--json needs --status"]),
        (["worker", "--queue", " "], ["--queue", "empty"]),
        (["worker", "-q"], ["'-q' requires an argument", "worker --help"]),
        (["worker", "--processes", "0"], ["--processes"]),
        (["worker", "--concurrency", "none"], ["--concurrency"]),
        (["worker", "--log-level", "loud"], ["--log-level", "'debug'"]),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_two(arguments: list[str], words: list[str]) -> None:
    result = run(*arguments)

    assert result.exit_code == 2
    line = complaint(result)
    for word in words:
        assert word in line


@pytest.mark.parametrize("name", ["status", "list", "queues", "enqueue", "worker", "migrate"])
def test_a_refused_variable_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CURRANT_WORKER_HEARTBEAT_INTERVAL", "often")
    arguments = {"status": [ID], "enqueue": ["f"]}.get(name, [])

    result = run(name, *arguments)

    assert result.exit_code == 2
    assert "CURRANT_WORKER_HEARTBEAT_INTERVAL is 'often'" in complaint(result)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.DatabaseUnavailable("the database cannot be reached", hint="is it up?"), 1),
        (errors.EmbeddedMissing("no database is named", hint="pip install it"), 1),
        (errors.SchemaOlder("too old", hint="run `currant migrate`"), 1),
        (errors.InvalidArgument("unknown option x", hint="known: y"), 2),
        (errors.OptionError("unknown option x", hint="known: y"), 2),
        (errors.SettingsError("CURRANT_X is y", hint="give a number"), 2),
        (OSError(28, "No space left on device"), 1),
    ],
)
def test_an_error_is_one_line_with_its_remedy(failing: Any, error: Exception, code: int) -> None:
    failing(error)

    result = run("list")

    assert result.exit_code == code
    assert complaint(result) == f"currant: {error}"


def test_an_error_of_several_lines_becomes_one(failing: Any) -> None:
    failing(errors.CurrantError("first\n  second\x1b[31m\r\nthird"))

    assert complaint(run("list")) == "currant: first; second\\x1b[31m; third"


def test_an_unexpected_error_says_how_to_see_more(failing: Any) -> None:
    failing(ZeroDivisionError("oh"))

    result = run("list")

    assert result.exit_code == 1
    assert "ZeroDivisionError: oh" in complaint(result)
    assert "--debug" in complaint(result)


def test_debug_shows_the_traceback_and_the_line(failing: Any) -> None:
    failing(ZeroDivisionError("oh"))

    result = run("list", "--debug")

    assert result.exit_code == 1
    assert "Traceback (most recent call last)" in result.stderr
    assert result.stderr.splitlines()[-1].startswith("currant: unexpected ZeroDivisionError")


def test_an_interrupt_is_not_a_failure(failing: Any) -> None:
    failing(KeyboardInterrupt())

    result = run("list")

    assert result.exit_code == 130
    # The first line ends the one on which the terminal shows ^C.
    assert result.stderr.splitlines() == ["", "currant: interrupted"]


def test_a_reader_that_has_gone_is_no_error(failing: Any) -> None:
    failing(BrokenPipeError())

    result = run("list")

    assert (result.exit_code, result.stderr) == (141, "")


def test_the_url_on_the_command_line_comes_before_the_variable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = []

    def connect(url: str, **_: object) -> None:
        seen.append(url)
        raise errors.DatabaseUnavailable("no")

    monkeypatch.setattr(database, "connect_sync", connect)
    monkeypatch.setenv("CURRANT_DATABASE_URL", "postgresql:///a")

    run("list")
    run("list", "--database-url", "postgresql:///b")

    assert seen == ["postgresql:///a", "postgresql:///b"]


@pytest.mark.parametrize(
    ("arguments", "origin"),
    [([], "CURRANT_DATABASE_URL"), (["--database-url", "b"], "--database-url")],
)
def test_a_url_that_cannot_be_read_is_told_with_where_it_came_from(
    arguments: list[str], origin: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CURRANT_DATABASE_URL", "a")

    result = run("list", *arguments)

    assert result.exit_code == 2
    assert f"the database URL ({origin}) cannot be read" in complaint(result)


def test_url_prints_the_one_in_use() -> None:
    assert run("url", "--database-url", "postgresql:///b").stdout == "postgresql:///b\n"


def test_schema_prints_a_script_and_needs_no_database(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migrations, "schema_script", lambda: "begin;\ncommit;\n")

    result = run("schema")

    assert (result.exit_code, result.stdout) == (0, "begin;\ncommit;\n")


def test_what_a_command_returns_is_the_exit_code() -> None:
    @click.command(cls=Command, uses_database=False)
    def thing() -> int:
        return 1

    main.add_command(thing, "thing")
    try:
        assert run("thing").exit_code == 1
    finally:
        del main.commands["thing"]


def record(level: int, message: str, **given: Any) -> logging.LogRecord:
    name = given.pop("name", "currant.worker")
    made = logging.LogRecord(name, level, __file__, 1, message, (), given.get("exc_info"))
    made.created, made.msecs = 1_700_000_000.25, 250
    return made


def test_a_log_record_is_one_line() -> None:
    line = logs.LineFormatter(is_coloured=False).format(record(logging.INFO, "two\nlines"))

    date, clock, rest = line.split(" ", 2)
    assert (len(date), clock[-4:], rest) == (10, ".250", "info     two; lines")


def test_somebody_elses_record_says_whose_it_is() -> None:
    line = logs.LineFormatter(is_coloured=False).format(record(logging.INFO, "hi", name="shop"))

    assert line.endswith("info     shop: hi")


def test_only_an_error_nobody_expected_has_its_traceback() -> None:
    formatter = logs.LineFormatter(is_coloured=False)
    try:
        raise ValueError("no")
    except ValueError:
        caught = sys.exc_info()

    warning = formatter.format(record(logging.WARNING, "it failed", exc_info=caught))
    error = formatter.format(record(logging.ERROR, "it failed", exc_info=caught))

    assert warning.endswith("warning  it failed (ValueError: no)")
    assert "Traceback" in error


def test_colour_marks_what_needs_attention() -> None:
    formatter = logs.LineFormatter(is_coloured=True)

    assert "\x1b[31merror" in formatter.format(record(logging.ERROR, "x"))
    assert "\x1b[33mwarning" in formatter.format(record(logging.WARNING, "x"))

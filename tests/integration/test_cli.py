"""The commands on a real database."""

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from click.testing import CliRunner, Result

from currant import migrations
from currant.cli import main
from tests.integration.command_line import CURRANT, currant, environment, on_terminal, start

ARGUMENTS = '{"to": "a@example.org", "amount": 1.10000000000000000000001}'


@pytest.fixture
def run(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run a command in this process; one that does not succeed fails the test."""
    monkeypatch.setenv("CURRANT_DATABASE_URL", database_url)

    def run(*arguments: str, code: int = 0, **given: Any) -> Result:
        result = CliRunner().invoke(main, arguments, **given)
        assert result.exit_code == code, result.output
        return result

    return run


def enqueue(run: Any, *options: str, name: str = "send_email") -> str:
    return str(run("enqueue", name, ARGUMENTS, "-q", "emails", *options).stdout).strip()


def rows(result: Result) -> list[list[str]]:
    return [line.split() for line in result.stdout.splitlines()]


def status(run: Any, execution: str) -> dict[str, Any]:
    return dict(json.loads(run("status", execution, "--json").stdout))


def test_enqueue_prints_the_id_and_status_shows_it(run: Any) -> None:
    execution = enqueue(run, "--retries", "4", "--priority", "7", "--key", "k")

    shown = run("status", execution).stdout

    assert str(UUID(execution)) == execution
    for text in (
        f"id         {execution}",
        "function   send_email (task)",
        "queue      emails, priority 7",
        "status     pending",
        "waits for  a free worker on queue emails",
        "attempt    1 of 5",
        "key        k",
        "1.10000000000000000000001",
    ):
        assert text in shown


def test_every_option_reaches_the_database(run: Any) -> None:
    given = str(uuid4())
    execution = enqueue(
        run,
        *("--id", given, "--run-at", "2999-01-01T00:00Z", "--timeout", "2m", "--workflow"),
        *("--options", '{"headers": {"trace": "x"}, "version": 3}'),
    )

    document = status(run, execution)

    assert execution == given
    assert document["kind"] == "workflow"
    assert document["version"] == 3
    assert document["headers"] == {"trace": "x"}
    assert document["due_at"] == "2999-01-01T00:00:00Z"


def test_a_delay_shows_when_it_is_due_and_why_it_waits(run: Any) -> None:
    shown = run("status", enqueue(run, "--delay", "1h")).stdout

    assert "waits for  its start time" in shown
    assert "due        2" in shown


def test_the_same_key_is_the_same_execution(run: Any) -> None:
    assert enqueue(run, "--key", "k") == enqueue(run, "--key", "k")


def test_arguments_come_from_standard_input(run: Any) -> None:
    execution = run("enqueue", "f", "-", "-q", "q", input='["from stdin"]').stdout.strip()

    assert status(run, execution)["args"] == ["from stdin"]


def test_json_embeds_what_was_stored_digit_by_digit(run: Any) -> None:
    execution = enqueue(run)

    assert '"amount": 1.10000000000000000000001' in run("status", execution, "--json").stdout


def test_list_shows_the_newest_first_and_filters(run: Any) -> None:
    first, second = enqueue(run), enqueue(run, name="other")
    run("cancel", first)

    def listed(*options: str) -> list[str]:
        return [row[0] for row in rows(run("list", *options))[1:]]

    assert listed() == [second, first]
    assert listed("--limit", "1") == [second]
    assert listed("--status", "cancelled") == [first]
    assert listed("--function", "other") == [second]
    assert listed("--queue", "nowhere") == []
    assert run("list", "--queue", "nowhere").stderr == "currant: no executions match\n"
    assert listed("--kind", "task", "--roots") == [second, first]
    assert listed("--kind", "workflow") == []
    assert listed("--since", "1h") == [second, first]
    assert listed("--since", "2999-01-01") == []
    assert [one["id"] for one in json.loads(run("list", "--json").stdout)] == [second, first]


def test_cancel_reports_each_and_fails_if_one_is_unknown(run: Any) -> None:
    first, second, unknown = enqueue(run), enqueue(run), str(uuid4())

    result = run("cancel", first, unknown, second, first, "--reason", "enough", code=1)

    assert result.stdout == f"{first} cancelled\n{second} cancelled\n"
    assert result.stderr.startswith("currant: execution not found")
    assert "enough" in run("status", first).stdout


def test_cancelling_twice_is_fine_and_cancelling_what_completed_is_not(
    run: Any, database_url: str
) -> None:
    cancelled, completed = enqueue(run), enqueue(run)
    run("cancel", cancelled)
    complete(database_url, completed)

    assert run("cancel", cancelled).stdout == f"{cancelled} cancelled\n"
    result = run("cancel", completed, code=1)
    assert result.stderr == f"currant: {completed} has already completed, nothing to cancel\n"


def complete(url: str, execution: str, result: str = '{"sent": true}') -> None:
    """Do the execution's work as a worker in plain SQL."""
    with psycopg.connect(url, autocommit=True) as connection:
        [worker] = connection.execute(
            """select currant.register_worker('{"queues": ["emails"], "pid": 7}')"""
        ).fetchone() or [None]
        connection.execute(
            "select currant.complete(%(worker)s, c.execution_id, c.token, %(result)s::jsonb)"
            " from currant.claim(%(worker)s, '{emails}', 100) as c"
            " where c.execution_id = %(execution)s::uuid",
            {"worker": worker, "result": result, "execution": execution},
        )


def test_a_completed_one_shows_its_result(run: Any, database_url: str) -> None:
    execution = enqueue(run)
    complete(database_url, execution)

    shown = run("status", execution).stdout

    assert "status    completed" in shown
    assert 'result    {"sent": true}' in shown
    assert "(took " in shown
    assert "completed: " in run("history", execution).stdout


def test_retry_makes_a_new_one_of_a_cancelled_one(run: Any) -> None:
    execution = enqueue(run)
    run("cancel", execution)

    again = run("retry", execution).stdout.strip()

    assert again != execution
    assert status(run, again)["retry_of"] == execution
    assert f"retry of   {execution}" in run("status", again).stdout


def test_retry_of_an_open_one_fails_with_what_to_do(run: Any) -> None:
    result = run("retry", enqueue(run), code=1)

    assert "has not ended" in result.stderr
    assert "cancel it first" in result.stderr


def test_a_signal_arrives_with_its_payload(run: Any, database_url: str) -> None:
    workflow = enqueue(run, "--workflow")

    said = run("signal", workflow, "approved", '{"by": "me"}', "--id", str(uuid4())).stdout

    assert said == f"signal approved sent to {workflow}\n"
    with psycopg.connect(database_url) as connection:
        found = connection.execute("select name, payload from currant.workflow_signals").fetchall()
    assert found == [("approved", {"by": "me"})]


def test_status_shows_the_signals_that_nobody_has_taken(run: Any) -> None:
    workflow = enqueue(run, "--workflow")
    for name in ("approved", "approved", "noted"):
        run("signal", workflow, name)

    shown, document = run("status", workflow).stdout, status(run, workflow)

    assert "unread     3 signals: approved, approved, noted\n" in shown
    assert [one["name"] for one in document["unread_signals"]] == ["approved", "approved", "noted"]
    assert "unread" not in run("status", enqueue(run)).stdout


def test_queues_shows_what_is_in_them(run: Any) -> None:
    enqueue(run)
    enqueue(run, "--delay", "1h")

    [title, emails] = rows(run("queues"))

    assert title == ["QUEUE", "READY", "DELAYED", "RUNNING", "OLDEST"]
    assert emails[:4] == ["emails", "1", "1", "0"]
    assert json.loads(run("queues", "--json").stdout)[0]["queue"] == "emails"


def test_workers_shows_who_is_there(run: Any, database_url: str) -> None:
    complete(database_url, enqueue(run))

    [title, worker] = rows(run("workers"))
    [document] = json.loads(run("workers", "--json").stdout)

    assert title[:4] == ["WORKER", "HOST", "PID", "STATE"]
    assert worker[0] == document["worker_id"]
    assert "alive" in worker
    assert document["queues"] == ["emails"]


def test_register_stores_what_the_app_declares(run: Any, tmp_path: Path, database_url: str) -> None:
    tmp_path.joinpath("app.py").write_text(
        "from currant import task\n\n@task(queue='emails', retries=5)\ndef registered_here(): ...\n"
    )

    done = currant(database_url, "register", cwd=tmp_path)

    assert (done.returncode, done.stdout) == (0, "1 function of app registered\n")
    execution = run("enqueue", "registered_here").stdout.strip()
    assert status(run, execution)["queue"] == "emails"
    assert status(run, execution)["max_attempts"] == 6


def test_register_refuses_an_app_without_functions(run: Any, tmp_path: Path) -> None:
    tmp_path.joinpath("app.py").write_text("")

    done = currant("postgresql://localhost:1/x", "register", cwd=tmp_path)

    assert done.returncode == 1
    assert "app defines no task and no workflow" in done.stderr


# --- Migrating --------------------------------------------------------------------------------


def test_migrate_deploys_and_says_what_is_deployed(empty_database_url: str) -> None:
    before = currant(empty_database_url, "migrate", "--status")
    done = currant(empty_database_url, "migrate")
    again = currant(empty_database_url, "migrate")
    after = currant(empty_database_url, "migrate", "--status")
    verified = currant(empty_database_url, "migrate", "--verify")

    status = json.loads(currant(empty_database_url, "migrate", "--status", "--json").stdout)
    assert (status["version"], status["pending"]) == (migrations.SCHEMA_VERSION, [])
    assert before.returncode == 1
    assert "run 'currant migrate'" in before.stdout
    assert [done.returncode, again.returncode, after.returncode] == [0, 0, 0], done.stderr
    assert f"schema {migrations.SCHEMA_VERSION}: " in done.stdout.splitlines()[-1]
    assert ", 0 to deploy" in after.stdout
    assert verified.returncode == 0
    assert verified.stdout.endswith(f"schema {migrations.SCHEMA_VERSION} verified\n")


def test_a_reader_of_migrate_may_leave_before_it_is_done(empty_database_url: str) -> None:
    done = subprocess.run(
        f"{CURRANT} migrate | head -n 1",
        shell=True,
        env=environment(empty_database_url),
        capture_output=True,
        text=True,
    )

    assert done.stderr == ""
    assert currant(empty_database_url, "migrate", "--status").returncode == 0


def test_the_schema_script_makes_the_schema(empty_database_url: str) -> None:
    script = currant(None, "schema").stdout

    with psycopg.connect(empty_database_url, autocommit=True) as connection:
        connection.execute(script.encode())

    assert currant(empty_database_url, "list").returncode == 0


# --- Terminals and pipes ----------------------------------------------------------------------


@pytest.mark.parametrize("columns", [50, 80, 120])
def test_on_a_terminal_the_list_fits(run: Any, database_url: str, columns: int) -> None:
    execution = enqueue(run, name="a_function_with_quite_a_long_name")

    code, shown = on_terminal(database_url, "list", columns=columns, env={"NO_COLOR": "1"})

    assert code == 0
    assert execution in shown
    assert all(len(line) <= columns for line in shown.splitlines())


def test_on_a_terminal_a_status_is_coloured_and_in_a_pipe_it_is_not(
    run: Any, database_url: str
) -> None:
    enqueue(run)

    assert "\x1b[" in on_terminal(database_url, "list", columns=80)[1]
    assert "\x1b[" not in currant(database_url, "list").stdout


def test_a_dumb_terminal_gets_plain_text(run: Any, database_url: str) -> None:
    enqueue(run)

    shown = on_terminal(database_url, "list", columns=80, env={"TERM": "dumb"})[1]

    assert "\x1b" not in shown


def test_a_terminal_without_utf_8_shows_everything(run: Any, database_url: str) -> None:
    execution = run("enqueue", "f", '["Grüße — 日本"]', "-q", "q" * 100).stdout.strip()
    env = {"LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}

    code, shown = on_terminal(database_url, "list", columns=80, env=env)
    done = currant(database_url, "status", execution, env=env)

    assert code == 0
    assert "qqq~" in shown
    assert done.returncode == 0
    assert "Gr\\xfc\\xdfe - \\u65e5\\u672c" in done.stdout


def test_on_a_narrow_terminal_workers_keep_their_ids_and_blocked_runs_their_reasons(
    run: Any, database_url: str
) -> None:
    execution = enqueue(run, "--workflow", name="order")
    complete(database_url, enqueue(run))
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "update currant.workflows set blocked_reason = 'no worker has version 2 of it'"
        )

    workers = on_terminal(database_url, "workers", columns=80, env={"NO_COLOR": "1"})[1]
    words = ("list", "--status", "blocked")
    blocked = on_terminal(database_url, *words, columns=80, env={"NO_COLOR": "1"})[1]

    [document] = json.loads(run("workers", "--json").stdout)
    assert document["worker_id"][-12:] in workers
    assert execution in blocked
    assert "blocked: no worker has" in blocked


def test_an_empty_list_says_so_on_a_terminal_only(database_url: str) -> None:
    assert "no executions match" in on_terminal(database_url, "list", columns=80)[1]
    assert currant(database_url, "list").stderr == ""


def test_a_reader_that_leaves_early_is_no_error(run: Any, database_url: str) -> None:
    arguments = json.dumps(["x" * 500_000])
    execution = run("enqueue", "f", "-", "-q", "q", input=arguments).stdout.strip()

    with start(database_url, "status", execution, "--json") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(1)
        process.stdout.close()
        complaints = process.stderr.read()

    assert complaints == ""
    assert process.returncode == 141


def test_ctrl_c_ends_a_command_with_one_line(database_url: str) -> None:
    with start(database_url, "enqueue", "f", "-", "-q", "q") as process:
        assert process.stderr is not None
        wait_until_reading(process.pid)
        process.send_signal(signal.SIGINT)
        complaints = process.stderr.read()

    assert complaints.strip() == "currant: interrupted"
    assert process.returncode == 130


def wait_until_reading(pid: int) -> None:
    """Return once the process sleeps in a read of its standard input."""
    for _ in range(1_000_000):
        if Path(f"/proc/{pid}/wchan").read_text() in ("pipe_read", "anon_pipe_read"):
            return
        os.sched_yield()
    raise AssertionError("it does not read")

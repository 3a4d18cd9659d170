"""What the commands show of workflows, and do to them, with a worker at work."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.apps import __file__ as apps
from tests.integration.command_line import currant, on_terminal
from tests.support.worker_database import Database
from tests.support.worker_process import ROOT, WorkerProcess

APP = "tests.apps.posting"
CODE = Path(apps).with_name("posting.py").read_text()
SHORT_ID = re.compile(r"\b[0-9a-f]{12}\b")


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """A look at the test's database from outside."""
    found = Database(database_url)
    yield found
    found.close()


@pytest.fixture
def worker(database: Database, tmp_path: Path) -> Iterator[WorkerProcess]:
    """A worker of the application."""
    process = WorkerProcess(database, tmp_path / "worker.log", APP)
    yield process
    process.kill()


class Commands:
    """The command line on the test's database, from the top of the project."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def __call__(self, *arguments: str, code: int = 0, **options: Any) -> str:
        """Run a command; what it printed."""
        options = {"cwd": ROOT, **options}
        done = currant(self._database.url, *arguments, **options)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout

    def json(self, *arguments: str, **options: Any) -> Any:
        """Run a command; the JSON that it printed."""
        return json.loads(self(*arguments, "--json", **options))

    def enqueue(self, function: str, *arguments: str, until: str) -> str:
        """Enqueue a workflow; its id, when it waits for something like that."""
        execution = self("enqueue", function, *arguments).strip()
        self.waits(execution, until)
        return execution

    def waits(self, execution: str, what: str) -> None:
        """Return when it waits for something like that."""
        self._database.until(
            "select true from currant.execution_status where id = %s and waits_for like %s",
            execution,
            f"%{what}%",
        )

    def ended(self, execution: str) -> str:
        """How it ended, when it has."""
        return str(
            self._database.until(
                "select outcome from currant.execution_status where id = %s", execution
            )
        )


@pytest.fixture
def run(database: Database, worker: WorkerProcess) -> Commands:
    """Runs commands while a worker is at work."""
    return Commands(database)


def waiting(run: Commands, database: Database, *parcels: str) -> str:
    """Have parcels sent; the run, when each of its children waits for a signal."""
    execution = run("enqueue", "posting.send_all", json.dumps([parcels])).strip()
    database.until(
        "select count(*) = %s from currant.execution_status"
        " where parent_id = %s and waits_for like '%%picked up%%'",
        len(parcels),
        execution,
    )
    return execution


# --- status -----------------------------------------------------------------------------------


def test_status_shows_the_tree_of_what_a_workflow_started(
    run: Commands, database: Database
) -> None:
    execution = waiting(run, database, "a", "b")

    shown = run("status", execution).splitlines()
    document = run.json("status", execution)

    start = next(number for number, line in enumerate(shown) if line.startswith("CHILD"))
    assert [line.split()[:2] for line in shown[start + 1 : start + 3]] == [
        ["posting.ship", "suspended"],
        ["└─", "posting.pack"],
    ]
    assert shown[start + 1].endswith("signal picked up")
    assert [row["depth"] for row in document["children"]] == [1, 2, 1, 2]
    assert [row["function"] for row in document["children"]] == ["posting.ship", "posting.pack"] * 2
    assert document["children"][0]["id"] in shown[start + 1]


def test_status_shows_so_many_children_and_how_many_more(run: Commands, database: Database) -> None:
    execution = waiting(run, database, "a", "b", "c")

    assert run("status", execution, "--children", "2").splitlines()[-1].startswith("… 4 more")
    assert len(run.json("status", execution, "--children", "2")["children"]) == 2
    assert "CHILD" not in run("status", execution, "--children", "0")


def test_the_list_can_leave_out_what_workflows_have_started(
    run: Commands, database: Database
) -> None:
    execution = waiting(run, database, "a")

    assert [one["id"] for one in run.json("list", "--roots")] == [execution]
    assert {one["kind"] for one in run.json("list", "--kind", "workflow")} == {"workflow"}
    assert len(run.json("list", "--kind", "workflow")) == 2


def test_status_of_a_task_has_no_children(run: Commands) -> None:
    execution = run("enqueue", "posting.pack", '["a"]').strip()

    assert "children" not in run.json("status", execution)


def test_status_shows_the_traceback_where_it_began_first(run: Commands) -> None:
    execution = run("enqueue", "posting.send_all", '[["broken"]]').strip()
    assert run.ended(execution) == "failed"

    shown = run("status", execution)

    task_line = shown.index("posting.pack ")
    assert shown.index('raise ValueError("it is in pieces")') > task_line
    assert shown.count('raise ValueError("it is in pieces")') == 1
    assert shown.index("posting.ship ", task_line) < shown.index("in send_all")
    assert "error     ValueError: it is in pieces" in shown


# --- history ----------------------------------------------------------------------------------


def test_history_shows_children_with_their_ids_and_what_came_of_them(
    run: Commands, database: Database
) -> None:
    execution = waiting(run, database, "a")
    child = run.json("status", execution)["children"][0]["id"]

    open_line = line_of(run("history", execution, "--ids"), "child posting.ship")
    run("signal", child, "picked up")
    assert run.ended(execution) == "completed"
    ended_line = line_of(run("history", execution), "child posting.ship")

    assert child in open_line
    assert "suspended, waits for signal picked up" in open_line
    assert child[-12:] in ended_line
    assert 'completed: "packed a"' in ended_line
    assert "posting.py:" in ended_line
    shown = run("history", execution)
    assert line_of(shown, "side effect send_all.<locals>.choose_van").split()[-1] == "7"
    assert line_of(shown, "version of weigh").split()[-1] == "2"


def line_of(shown: str, words: str) -> str:
    return next(line for line in shown.splitlines() if words in line)


def test_history_shows_the_present_run_and_all_on_request(run: Commands) -> None:
    execution = run.enqueue("posting.count", until="signal more")
    for number in (1, 2):
        run("signal", execution, "more", str(number))
        run.waits(execution, "signal more")
        # It waits again at once: the signal has to have been taken.
        run._database.until(
            "select count(*) = %s from currant.history(%s) as h where h.kind = 'started'",
            number + 1,
            execution,
        )
    run.waits(execution, "signal more")

    present, whole = run("history", execution), run("history", execution, "--all")

    assert present.splitlines()[1] == (
        "run 3, continued after 2 earlier runs; --all shows what was before"
    )
    assert present.count("continued as new") == 1
    assert "enqueued" not in present
    assert whole.count("── continued as new") == 2
    assert whole.count("signal more received") == 2
    document = run.json("history", execution)
    assert document["execution"]["args"] == {"total": 3}
    assert [entry["kind"] for entry in document["entries"]] == ["started"]


def test_a_task_has_no_history_to_replay(run: Commands, database: Database) -> None:
    execution = run("enqueue", "posting.pack", '["a"]').strip()

    done = currant(database.url, "history", execution, "--json")

    assert done.returncode == 2
    assert "a task has no history" in done.stderr


def test_both_are_readable_on_terminals_of_any_width(run: Commands, database: Database) -> None:
    execution = waiting(run, database, "a parcel with a rather long name that goes on and on")

    for command, columns in itertools.product(("status", "history"), (80, 100, 160)):
        code, shown = on_terminal(
            database.url, command, execution, columns=columns, env={"NO_COLOR": "1"}
        )

        lines = re.sub(r"\x1b\[[0-9;]*m", "", shown).splitlines()
        assert code == 0
        assert all(len(line) <= columns for line in lines)
        [child, *_] = [line for line in lines if "posting.ship" in line and "suspended" in line]
        # Names of steps are kept whole for longer than ids.
        assert SHORT_ID.search(child) or (command, columns) == ("history", 80)


# --- signal and cancel ------------------------------------------------------------------------


def test_a_signal_goes_to_whoever_holds_a_key_and_arrives_once(
    run: Commands, database: Database
) -> None:
    execution = run.enqueue("posting.ship", '["a"]', "--key", "parcel 7", until="signal picked up")
    to = ("--to", "posting.ship", "parcel 7")

    said = [run("signal", *to, "noted", '{"by": "me"}', "--key", "once") for _ in range(2)]

    assert said == ["signal noted sent to posting.ship with key parcel 7\n"] * 2
    sent = database.rows("select execution_id, payload from currant.workflow_signals")
    assert [(str(one.execution_id), one.payload) for one in sent] == [(execution, {"by": "me"})]


def test_a_signal_for_a_key_that_nobody_holds_is_refused(run: Commands, database: Database) -> None:
    done = currant(database.url, "signal", "--to", "posting.ship", "nobody", "go")

    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "nobody" in done.stderr


def test_cancel_by_force_ends_a_workflow_and_what_it_has_running(
    run: Commands, database: Database
) -> None:
    execution = run("enqueue", "posting.send_all", '[["heavy", "b"]]').strip()
    database.until(
        "select true from currant.execution_status"
        " where root_id = %s and function = 'posting.pack' and status = 'running'",
        execution,
    )

    said = run("cancel", execution, "--force", "--reason", "no more post")

    assert said == f"{execution} cancelled\n"
    document = run.json("status", execution)
    states = {row["status"] for row in document["children"] if row["function"] == "posting.ship"}
    assert states == {"cancelled"}
    assert "no more post" in json.dumps(document["error"])


# --- versions ---------------------------------------------------------------------------------


def test_versions_shows_who_follows_what(run: Commands, database: Database) -> None:
    waiting(run, database, "a")
    run.enqueue("posting.count", until="signal more")

    shown = run("versions")

    assert "weigh of posting.send_all: the code before version 2 may go" in shown
    assert "posting.count: no open run has recorded a change" in shown
    assert run("versions", "weigh").count("posting.send_all") == 2
    assert "1 run has not recorded it" in run("versions", "paint", code=1)
    [row] = run.json("versions", "weigh")
    assert (row["version"], row["runs"]) == (2, 1)


def test_versions_says_when_no_workflow_is_open(run: Commands) -> None:
    assert run("versions") == "no workflow is open\n"
    assert run.json("versions") == []


# --- replay -----------------------------------------------------------------------------------


@pytest.fixture
def other_app(tmp_path: Path) -> str:
    """The application as it might become: one without signals, so that nothing is picked up."""
    changed = CODE.replace('await wait_for_signal("picked up")', 'await pack.run("again")')
    path = tmp_path / "other.py"
    path.write_text(changed)
    return str(path)


def test_replay_of_open_runs_tells_whether_other_code_follows_them(
    run: Commands, database: Database, other_app: str
) -> None:
    waiting(run, database, "a", "b")
    run.enqueue("posting.count", until="signal more")
    names = ("--function", "posting.send_all", "--function", "posting.ship")

    same = run("replay", *names, "--app", APP)
    other = run("replay", *names, "--app", other_app, code=1)

    assert same.splitlines()[-1] == "3 runs replayed: 3 ok"
    assert other.splitlines()[-1] == "3 runs replayed: 1 ok, 2 mismatch"
    for text in (
        "produced    task #2 posting.pack (other.py:",
        '  await pack.run("again")',
    ):
        assert text in other
    assert other.count("currant.get_version()") == 1


def test_replay_of_runs_by_id_goes_on_after_an_unknown_one(
    run: Commands, database: Database
) -> None:
    execution = waiting(run, database, "a")
    unknown = execution[:-12] + "000000000000"

    done = currant(database.url, "replay", unknown, execution, "--app", APP, cwd=ROOT)

    assert done.returncode == 1
    assert f"{unknown} (check the id" in done.stderr
    assert done.stdout.splitlines()[-1] == "1 run replayed: 1 ok"


def test_replay_follows_sets_of_texts_under_the_installations_seed(
    run: Commands, tmp_path: Path
) -> None:
    execution = run("enqueue", "posting.label", '["a"]').strip()
    assert run.ended(execution) == "completed"
    recorded = run("history", execution, "--json")

    stored = run.json("replay", execution, "--app", APP)
    out_of_file = [
        *run.json("replay", "--file", "-", "--app", APP, input=recorded),
        *run.json("replay", "--file", "-", "--app", APP, input=f"[{recorded},{recorded}]"),
    ]

    assert [one["ok"] for one in stored] == [True]
    assert [one["events"] for one in out_of_file] == [11, 11, 11]
    under_another = json.dumps({**json.loads(recorded), "hash_seed": 1})
    [report] = run.json("replay", "--file", "-", "--app", APP, code=1, input=under_another)
    assert report["outcome"] == "mismatch"


def test_replay_of_a_workflow_that_nobody_has_is_wrong_usage(
    run: Commands, database: Database
) -> None:
    done = currant(database.url, "replay", "--function", "posting.shp", "--app", APP, cwd=ROOT)

    assert done.returncode == 2
    assert "there is no workflow posting.shp" in done.stderr
    assert "posting.ship" in done.stderr
    assert run("replay", "--function", "posting.ship", "--app", APP) == "no runs to replay\n"


def test_replay_without_the_right_to_read_histories_says_so(
    run: Commands, database: Database
) -> None:
    execution = waiting(run, database, "a")
    database.rows("create role posting_client login")
    database.rows("grant currant_client to posting_client")
    url = psycopg.conninfo.make_conninfo(database.url, user="posting_client", password="x")
    try:
        done = currant(url, "replay", execution, "--app", APP, cwd=ROOT)

        assert done.returncode == 1
        assert "permission denied" in done.stderr
        assert "currant:" in done.stderr
    finally:
        database.rows("drop role posting_client")

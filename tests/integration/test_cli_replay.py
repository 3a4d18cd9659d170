"""`currant replay` of files: in a deployment's checks, far from any database."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from currant.workflow.history import python_version
from tests.integration.command_line import currant, on_terminal

NOWHERE = "postgresql://localhost:1/nowhere"
ID = "0190c000-0000-7000-8000-00000000000a"
APP = """
import asyncio
from currant import task, workflow

print("imported")


@task
async def charge(amount: int) -> str: ...


@workflow
async def order(amount: int) -> None:
    print("running")
    await charge.run(amount)
    await asyncio.sleep(60)
"""
AT = "2026-01-31T12:00:00.000000+00:00"
RECORDED: dict[str, Any] = {
    "format": 1,
    "currant": "0.1.0",
    "execution": {
        "id": ID,
        "function": "order",
        "version": 1,
        "queue": "default",
        "args": {"amount": 5},
        "created_at": AT,
        "status": "suspended",
        "first_event": 1,
    },
    "entries": [
        {
            "event": 1,
            "position": 0,
            "kind": "started",
            "payload": {"version": 1, "python": python_version(), "engine": 1},
            "at": AT,
        },
        {
            "event": 1,
            "position": 1,
            "kind": "task",
            "number": 1,
            "name": "charge",
            "payload": {"kind": "task", "version": 1, "retries": 3, "timeout": 300},
            "args": {"amount": 5},
            "source": "app.py:14",
            "at": AT,
        },
    ],
}
NEXT = [
    {
        "event": 2,
        "position": 0,
        "kind": "task_completed",
        "number": 1,
        "payload": "paid",
        "at": AT,
    },
    {
        "event": 2,
        "position": 1,
        "kind": "timer",
        "number": 2,
        "payload": {"seconds": 60.0},
        "source": "app.py:15",
        "at": AT,
    },
]


class Project:
    """A directory with an application and a recorded history."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.write(APP)
        self.record({**RECORDED, "entries": RECORDED["entries"] + NEXT})

    def write(self, code: str) -> None:
        (self.directory / "app.py").write_text(code)

    def record(self, document: object, name: str = "order.json") -> None:
        (self.directory / name).write_text(json.dumps(document))

    def replay(self, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        words = arguments or ("--file", "order.json")
        return currant(NOWHERE, "replay", *words, cwd=self.directory, **options)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A project whose code follows what is recorded."""
    return Project(tmp_path)


def test_code_that_follows_its_history_is_fine(project: Project) -> None:
    done = project.replay()

    assert (done.returncode, done.stdout) == (
        0,
        f"{ID}  ok         order, 2 events, order.json\n\n1 run replayed: 1 ok\n",
    )
    # What the application prints is not for whoever reads the report.
    assert done.stderr == "imported\nrunning\n"


def test_changed_code_is_told_with_all_that_helps(project: Project) -> None:
    project.write(APP.replace("    await charge", "    await charge.run(1)\n    await charge"))

    done = project.replay()

    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        f"{ID}  mismatch   order, order.json",
        "  event       1, started",
        "  expected    task #1 charge (app.py:14)",
        "  produced    task #1 charge (app.py:15)",
        "  differs in  args.amount: expected 5, produced 1",
        "  code        app.py:15  await charge.run(1)",
        "  last match  nothing before it",
        f"  python      recorded on {python_version()}, replayed on {python_version()}",
        "",
        "code that runs under way may change only behind currant.get_version()",
        "",
        "1 run replayed: 1 mismatch",
    ]


def test_lenient_compares_what_a_worker_compares(project: Project) -> None:
    project.write(APP.replace("charge.run(amount)", "charge.run(amount + 1)"))

    assert project.replay().returncode == 1
    assert project.replay("--file", "order.json", "--lenient").returncode == 0


def test_other_options_are_only_noted(project: Project) -> None:
    project.write(APP.replace("@task", "@task(timeout=7)"))

    done = project.replay()

    assert done.returncode == 0
    assert "  note  " in done.stdout
    assert "options.timeout: expected 300, produced 7" in done.stdout


def test_json_has_a_report_for_each(project: Project) -> None:
    project.record([RECORDED, {**RECORDED, "execution": {**RECORDED["execution"], "version": 2}}])

    done = project.replay("--file", "order.json", "--json")

    reports = json.loads(done.stdout)
    assert done.returncode == 1
    assert [(one["ok"], one["outcome"], one["events"]) for one in reports] == [
        (True, "ok", 1),
        (False, "version", 0),
    ]
    assert reports[0]["execution_id"] == ID


def test_a_directory_and_standard_input_may_be_named_together(project: Project) -> None:
    text = json.dumps(RECORDED)

    done = project.replay("--file", ".", "--file", "-", "--app", "app", input=text)

    assert done.returncode == 0
    assert done.stdout.splitlines()[-1] == "2 runs replayed: 2 ok"


@pytest.mark.parametrize(
    ("change", "outcome", "words"),
    [
        ({"function": "ordr"}, "unknown", "ordr is no workflow of this application"),
        ({"function": "charge"}, "unknown", "charge is a task and no workflow"),
        ({"args": {"amount": "much"}}, "arguments", "argument 'amount' of order()"),
        ({"version": 7}, "version", "the run has version 7 and this code has 1"),
    ],
)
def test_what_cannot_be_replayed_is_reported_as_such(
    project: Project, change: dict[str, Any], outcome: str, words: str
) -> None:
    project.record({**RECORDED, "execution": {**RECORDED["execution"], **change}})

    done = project.replay()

    assert done.returncode == 1
    assert done.stdout.splitlines()[0].split()[1] == outcome
    assert words in done.stdout
    assert done.stdout.splitlines()[-1] == f"1 run replayed: 1 {outcome}"


def test_each_file_is_replayed_under_the_hash_seed_it_was_recorded_under(
    project: Project,
) -> None:
    code = APP.replace("amount: int) -> str", "letters: str) -> str")
    project.write(code.replace("run(amount)", 'run("".join({*"abcdefgh"}))'))
    [task] = [one for one in RECORDED["entries"] if one["kind"] == "task"]
    for seed in (1, 2):
        args = {"letters": letters_under(seed)}
        entries = [RECORDED["entries"][0], {**task, "args": args}]
        project.record({**RECORDED, "hash_seed": seed, "entries": entries}, f"{seed}.json")
    project.record({**RECORDED, "hash_seed": 3, "entries": entries}, "order.json")

    both = project.replay("--file", "1.json", "--file", "2.json")
    wrong = project.replay()

    assert letters_under(1) != letters_under(2)
    assert both.returncode == 0, both.stdout
    assert both.stdout.splitlines()[-1] == "2 runs replayed: 2 ok"
    assert wrong.returncode == 1


def letters_under(seed: int) -> str:
    statement = 'print("".join({*"abcdefgh"}))'
    environment = {"PYTHONHASHSEED": str(seed)}
    done = subprocess.run(
        [sys.executable, "-c", statement],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--file", "none.json"), 2, "none.json cannot be read"),
        (("--file", "app.py"), 2, "app.py: this is not a recorded history"),
        (("--file", "order.json", "--app", "other"), 1, "there is no module other"),
        ((ID,), 1, "cannot be reached"),
    ],
)
def test_what_is_wrong_is_one_line(
    project: Project, arguments: tuple[str, ...], code: int, words: str
) -> None:
    done = project.replay(*arguments)

    assert done.returncode == code
    assert done.stdout == ""
    [line] = done.stderr.splitlines()
    assert line.startswith("currant: ")
    assert words in line


def test_a_report_names_the_file_and_the_place_in_it(project: Project) -> None:
    project.record([{**RECORDED, "hash_seed": 1}, RECORDED], "several.json")

    reports = json.loads(
        project.replay("--file", "order.json", "--file", "several.json", "--json").stdout
    )

    assert sorted(one["file"] for one in reports) == [
        "order.json",
        "several.json (number 1)",
        "several.json (number 2)",
    ]


def test_an_application_that_cannot_be_imported_is_told_once(project: Project) -> None:
    project.write("import nothing_of_that_name")
    project.record([{**RECORDED, "hash_seed": seed} for seed in (1, 2)])

    done = project.replay()

    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert "importing app failed" in line


@pytest.mark.parametrize("columns", [80, 120])
def test_a_report_is_readable_on_a_terminal(
    project: Project, columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    longer = "charge.run(amount + 1 + 1 + 1 + 1 + 1 + 1 + 1 + 1 + 1 + 1 + 1 + 1 + 1 + 1 + 1 + 1)"
    project.write(APP.replace("charge.run(amount)", longer))
    monkeypatch.chdir(project.directory)

    code, shown = on_terminal(NOWHERE, "replay", "--file", "order.json", columns=columns)

    assert code == 1
    assert "\x1b[1;31mmismatch\x1b[0m" in shown
    lines = re.sub(r"\x1b\[[0-9;]*m", "", shown).splitlines()
    assert all(len(line) <= columns for line in lines)

from typing import Any
from uuid import UUID

import pytest
from click.testing import CliRunner, Result

from currant import database
from currant.cli import main, versions
from currant.cli.session import Session
from currant.models import WorkflowVersion

OLD, NEW = UUID(int=1), UUID(int=2)

# The view has, for each function, a line per change and version, one for the runs that have not
# recorded that change, and one for those that have recorded no change at all.
SEVERAL = [
    WorkflowVersion("order", "sms", None, 7, NEW),
    WorkflowVersion("order", "sms", 1, 1, OLD),
    WorkflowVersion("order", "sms", 2, 1200, NEW),
    WorkflowVersion("order", "tax", None, 8, OLD),
    WorkflowVersion("order", "tax", 3, 1200, NEW),
    WorkflowVersion("order", None, None, 7, NEW),
    WorkflowVersion("refund", None, None, 5, NEW),
]
DONE = [WorkflowVersion("order", "sms", 2, 12, OLD)]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run the command on lines of the view."""

    def run(found: list[WorkflowVersion], *arguments: str) -> Result:
        class Connected:
            def __enter__(self) -> None: ...
            def __exit__(self, *_: object) -> None: ...

        monkeypatch.setattr(Session, "connection", lambda self: Connected())
        monkeypatch.setattr(database, "run_sync", lambda *_: found)
        return CliRunner().invoke(main, ["versions", *arguments])

    return run


def test_every_change_is_listed_with_what_may_go(run: Any) -> None:
    result = run(SEVERAL)

    lines = result.stdout.splitlines()
    assert result.exit_code == 0
    assert [line.split()[:2] for line in lines[:7]] == [
        ["FUNCTION", "CHANGE"],
        *[["order", "sms"]] * 3,
        *[["order", "tax"]] * 2,
        ["refund", "-"],
    ]
    assert "not recorded      7" in lines[1]
    assert lines[8:11] == [
        "sms of order: keep the old code: 7 runs have not recorded it, 1 run follows version 1",
        "tax of order: keep the old code: 8 runs have not recorded it",
        "refund: no open run has recorded a change",
    ]
    assert "follow its oldest version" in lines[-1]


@pytest.mark.parametrize(
    ("found", "code", "words"),
    [
        (DONE, 0, "sms of order: the code before version 2 may go"),
        (SEVERAL, 1, "sms of order: keep the old code"),
        ([], 0, "no workflow is open"),
        (SEVERAL[3:], 1, "sms of order: keep the old code: 1,208 runs have not recorded it"),
    ],
    ids=["one version", "several versions", "none open", "nobody recorded it"],
)
def test_for_one_change_the_exit_code_says_whether_old_code_may_go(
    run: Any, found: list[WorkflowVersion], code: int, words: str
) -> None:
    result = run(found, "sms")

    assert result.exit_code == code
    assert words in result.stdout
    assert "tax" not in result.stdout


def test_of_one_workflow_what_others_have_open_does_not_count(run: Any) -> None:
    alone = ("sms", "--function", "order")

    assert run([*DONE, SEVERAL[-1]], *alone).exit_code == 0
    assert run(SEVERAL, *alone).exit_code == 1
    none_left = run([SEVERAL[-1]], *alone)
    assert (none_left.exit_code, none_left.stdout) == (0, "no run of order is open\n")
    assert run([SEVERAL[-1]], "sms").exit_code == 1


def test_a_change_that_no_run_has_recorded_may_be_misspelt(run: Any) -> None:
    assert run(SEVERAL, "smss").stderr.startswith("currant: no open run has recorded 'smss'")
    assert run(SEVERAL, "sms").stderr == ""


def test_functions_that_do_not_have_the_change_are_left_out() -> None:
    assert versions.of_change(SEVERAL, "sms") == SEVERAL[:3]


def test_json_has_the_lines(run: Any) -> None:
    result = run(DONE, "--json")

    assert '"oldest_id": "00000000-0000-0000-0000-000000000001"' in result.stdout
    assert '"version": 2' in result.stdout

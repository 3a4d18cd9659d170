"""What a replay reports when the code is not what it was."""

from __future__ import annotations

import asyncio
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import currant
from currant import get_version, replaying, task, wait_for_signal, workflow
from currant.errors import InvalidArgument
from currant.replaying import Outcome, replay
from currant.workflow.history import python_version
from tests.replay.workflows import QUEUE, Line, Receipt, add, charge, refuse, rest

# --- The code asks for something else


def test_another_step_is_a_mismatch_that_says_everything(recorded: Any) -> None:
    @workflow(name="recorded.approval", queue=QUEUE)
    async def approval(title: str, patience: float) -> None:
        await wait_for_signal("review", timeout=patience)
        await add.run(1, 2)  # instead of a rest

    report = replay(recorded("an_approval_under_way"))

    [mismatch] = report.mismatches
    assert (report.ok, report.outcome) == (False, Outcome.MISMATCH)
    assert report.events == 1
    assert (mismatch.event, mismatch.event_kind) == (2, "signal_received")
    assert mismatch.expected.startswith("task #2 recorded.rest (workflows.py:")
    assert mismatch.produced.startswith("task #2 recorded.add (test_replaying.py:")
    assert mismatch.file == __file__
    assert mismatch.code == "await add.run(1, 2)  # instead of a rest"
    assert mismatch.last_match is not None
    assert "at event 2" in mismatch.last_match
    assert "get_version" in (mismatch.hint or "")
    assert report.recorded_python is not None
    assert report.python == python_version()
    for text in (mismatch.expected, mismatch.produced, mismatch.code, mismatch.last_match):
        assert text in report.describe()


def test_a_step_that_is_gone_says_where_the_code_waits(recorded: Any) -> None:
    @workflow(name="recorded.approval", queue=QUEUE)
    async def approval(title: str, patience: float) -> None:
        await wait_for_signal("review", timeout=patience)
        await wait_for_signal("by")

    [mismatch] = replay(recorded("an_approval_under_way")).mismatches

    assert mismatch.produced.startswith("nothing, its code waits: Task-1 at test_replaying.py:")
    assert mismatch.source is None


def test_code_that_fails_now_says_with_what_and_where(recorded: Any) -> None:
    @workflow(name="recorded.approval", queue=QUEUE)
    async def approval(title: str, patience: float) -> None:
        await wait_for_signal("review", timeout=patience)
        raise LookupError("no such reviewer")

    [mismatch] = replay(recorded("an_approval_under_way")).mismatches

    assert mismatch.produced.endswith("with LookupError: no such reviewer")
    assert mismatch.code == 'raise LookupError("no such reviewer")'


def test_code_that_ends_earlier_is_a_mismatch(recorded: Any) -> None:
    @workflow(name="recorded.order", queue=QUEUE)
    async def order(customer: str, lines: list[Line]) -> None:
        await charge.run(customer, Decimal("7.10"))

    report = replay(recorded("an_order"))

    [mismatch] = report.mismatches
    assert (mismatch.expected.split()[0], mismatch.produced) == ("timer", "complete")


# --- Strictly and leniently


def order_with(total: Decimal, delay: float = 0.05, **options: Any) -> None:
    """Define the order anew, with what it does a little different."""

    @workflow(name="recorded.order", queue=QUEUE)
    async def order(customer: str, lines: list[Line]) -> Receipt:
        number = await charge.options(**options).run(customer, total)
        await asyncio.sleep(delay)
        try:
            await refuse.options(retries=0).run("out of stock")
        except currant.TaskFailed:
            number += " (in part)"
        await rest.options(delay=0.01, priority=3).queue(0, "receipt")
        return Receipt(number, total, currant.now())


def test_other_arguments_are_a_mismatch_unless_it_is_lenient(recorded: Any) -> None:
    order_with(Decimal("7.11"))

    strict, lenient = (replay(recorded("an_order"), strict=strict) for strict in (True, False))

    [mismatch] = strict.mismatches
    assert (mismatch.event, strict.events) == (1, 0)
    assert "7.11" in str(mismatch.differences)
    assert "7.10" in strict.describe()
    assert lenient.ok


def test_another_duration_is_a_mismatch_unless_it_is_lenient(recorded: Any) -> None:
    order_with(Decimal("7.10"), delay=0.06)

    strict, lenient = (replay(recorded("an_order"), strict=strict) for strict in (True, False))

    assert "0.06" in str(strict.mismatches[0].differences)
    assert lenient.ok


def test_other_options_are_noted_and_no_mismatch(recorded: Any) -> None:
    order_with(Decimal("7.10"), timeout=5)

    report = replay(recorded("an_order"))

    assert report.ok
    [note] = report.notes
    assert "timeout" in note
    assert f"note        {note}" in report.describe()


# --- What cannot be replayed


def test_a_workflow_that_is_gone_is_unknown(recorded: Any) -> None:
    document = recorded("an_order")
    document["execution"]["function"] = "recorded.gone"

    report = replay(document)

    assert report.outcome is Outcome.UNKNOWN
    assert report.reason == "recorded.gone is no workflow of this application"
    assert report.reason in str(report)


def test_a_workflow_that_became_a_task_is_unknown(recorded: Any) -> None:
    @task(name="recorded.order", queue=QUEUE)
    def order() -> None: ...

    report = replay(recorded("an_order"))

    assert report.outcome is Outcome.UNKNOWN
    assert "is a task" in (report.reason or "")


def test_arguments_that_fit_no_more_are_reported_as_such(recorded: Any) -> None:
    @workflow(name="recorded.order", queue=QUEUE)
    async def order(customer: int, lines: list[Line]) -> None: ...

    report = replay(recorded("an_order"))

    assert report.outcome is Outcome.ARGUMENTS
    assert "'customer'" in (report.reason or "")


def test_arguments_that_never_fitted_have_to_fail_again(recorded: Any) -> None:
    document = recorded("an_order")
    document["execution"]["args"] = {"customer": "c"}
    end = {**document["entries"][-1], "event": 1, "position": 1, "kind": "fail"}
    document["entries"] = [document["entries"][0], {**end, "number": None, "name": None}]

    assert replay(document).ok


def test_a_run_of_a_newer_version_is_not_for_this_code(recorded: Any) -> None:
    document = recorded("an_order")
    document["execution"]["version"] = 3

    report = replay(document)

    assert report.outcome is Outcome.VERSION
    assert "the run has version 3 and this code has 1" in (report.reason or "")


def test_a_version_that_the_code_supports_no_more_is_reported(recorded: Any) -> None:
    @workflow(name="recorded.delivery", queue=QUEUE, version=3)
    async def delivery(parcel: str) -> None:
        await rest.run(0, f"packed {parcel}")
        get_version("insure", 2, 3)

    report = replay(recorded("code_changed_under_way"))

    assert report.outcome is Outcome.VERSION
    assert "version 1 of the change 'insure'" in (report.reason or "")
    assert "2 to 3" in (report.reason or "")


def test_code_that_waits_for_nothing_is_a_deadlock(recorded: Any) -> None:
    @workflow(name="recorded.counter", queue=QUEUE)
    async def counter(total: int = 0, runs: int = 1) -> None:
        await asyncio.Event().wait()

    report = replay(recorded("a_run_that_has_yet_to_end"))

    assert report.outcome is Outcome.DEADLOCK
    assert "test_replaying.py:" in (report.reason or "")


def test_code_that_does_not_give_way_is_stopped(recorded: Any) -> None:
    @workflow(name="recorded.counter", queue=QUEUE)
    async def counter(total: int = 0, runs: int = 1) -> None:
        while True:
            try:
                while True:
                    pass
            except BaseException:  # it may be told more than once
                if total:
                    raise
                total = 1

    document = recorded("a_run_that_has_yet_to_end")
    document["execution"]["args"] = {"total": 0}
    report = replay(document, patience=0.1)

    assert report.outcome is Outcome.DEADLOCK
    assert "did not give way" in (report.reason or "")
    assert report.events == 0


def test_a_result_that_decodes_no_more_is_not_swallowed(recorded: Any) -> None:
    document = recorded("an_order")
    [charged] = [one for one in document["entries"] if one["kind"] == "task_completed"]
    charged["payload"] = {"no": "text"}

    report = replay(document)

    assert not report.ok
    assert "the result of recorded.charge()" in report.describe()


# --- Documents


def test_a_run_that_has_not_begun_has_nothing_to_follow(recorded: Any) -> None:
    report = replay({**recorded("an_order"), "entries": []})

    assert report.ok
    assert report.notes == ["it has not begun, so there is nothing to follow"]


def test_a_replay_works_inside_of_an_event_loop(recorded: Any) -> None:
    async def main() -> bool:
        return replay(recorded("a_mix_of_asyncio")).ok

    assert asyncio.run(main())


def test_a_document_may_be_text_or_read(recorded: Any) -> None:
    document = recorded("an_order")
    text = json.dumps(document)

    given = [document, text, text.encode(), replaying.read(text)[0]]

    assert [replay(one).ok for one in given] == [True] * 4


def test_a_file_may_hold_several(recorded: Any, tmp_path: Path) -> None:
    one, other = recorded("an_order"), recorded("a_family")
    (tmp_path / "b.json").write_text(json.dumps([other, one]))
    (tmp_path / "a.json").write_text(json.dumps(one))
    (tmp_path / "notes.txt").write_text("not read")

    functions = [document.execution.function for document in replaying.load(tmp_path)]

    assert functions == ["recorded.order", "recorded.family", "recorded.order"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", ["file.json", "is not a recorded history", "currant history ID --json"]),
        ('{"a": 1}', ["file.json", "is not a recorded history", "format"]),
        ("7", ["file.json", "is not a recorded history"]),
    ],
)
def test_a_file_of_something_else_is_refused(
    content: str, words: list[str], tmp_path: Path
) -> None:
    (tmp_path / "file.json").write_text(content)

    with pytest.raises(InvalidArgument) as refused:
        replaying.load(tmp_path / "file.json")

    for word in words:
        assert word in str(refused.value)


def test_a_missing_file_and_an_empty_directory_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="cannot be read"):
        replaying.load(tmp_path / "none.json")
    with pytest.raises(InvalidArgument, match=r"ends in \.json"):
        replaying.load(tmp_path)


def test_a_newer_format_is_refused(recorded: Any) -> None:
    with pytest.raises(InvalidArgument, match="format 2"):
        replay({**recorded("an_order"), "format": 2})


@pytest.mark.parametrize("given", [7, None, "[]"])
def test_what_is_no_document_is_refused(given: Any) -> None:
    with pytest.raises(InvalidArgument, match="recorded history"):
        replay(given)

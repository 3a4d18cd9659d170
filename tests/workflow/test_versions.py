"""get_version, row by row of what it promises."""

import json
from typing import Any

import pytest

from currant.errors import InvalidArgument, NonDeterminism, UnsupportedVersion
from currant.workflow.api import get_version
from tests.workflow.conftest import Start
from tests.workflow.support import Run, step


def changed(lowest: int, highest: int) -> Any:
    """A workflow whose second step depends on a version."""

    async def workflow() -> Any:
        await step("charge")
        version = get_version("send_sms", lowest, highest)
        if version >= 2:
            await step("sms")
        await step("receipt")
        return version

    return workflow


async def unchanged() -> Any:
    await step("charge")
    await step("receipt")


async def called_first(lowest: int = 1, highest: int = 2) -> Any:
    version = get_version("x", lowest, highest)
    await step("a")
    await step("b")
    return version


def test_new_run_follows_the_newest(start: Start) -> None:
    run = start(changed(1, 2))
    run.complete("charge")
    run.complete("sms")
    run.complete("receipt")

    assert run.result == 2
    assert [json.loads(c.payload or "") for c in run.commands if c.kind == "version"] == [
        {"version": 2, "inferred": False}
    ]


def test_run_that_had_not_come_this_far_follows_the_newest(start: Start) -> None:
    run = start(unchanged)
    run.crash(changed(1, 2))
    run.complete("charge")
    run.complete("sms")
    run.complete("receipt")

    assert run.result == 2


def test_run_that_went_past_follows_the_oldest(start: Start) -> None:
    run = start(unchanged)
    run.complete("charge")
    run.crash(changed(1, 2))
    run.complete("receipt")

    assert run.result == 1


def test_inferred_version_is_stored_with_the_next_commit(start: Start) -> None:
    run = start(unchanged)
    run.complete("charge")
    run.crash(changed(1, 2))
    commands = run.complete("receipt")

    assert [(c.kind, c.event, c.number) for c in commands] == [
        ("version", 3, None), ("complete", 3, None),
    ]  # fmt: skip
    assert json.loads(commands[0].payload or "") == {"version": 1, "inferred": True}


def test_inferred_version_stays_when_the_old_branch_goes() -> None:
    async def old() -> None:
        for name in "abc":
            await step(name)

    def new(lowest: int) -> Any:
        async def workflow() -> Any:
            await step("a")
            version = get_version("x", lowest, 2)
            await step("b")
            await step("c")
            return version

        return workflow

    run = Run(old)
    run.complete("a")
    run.crash(new(1))
    run.complete("b")
    with pytest.raises(UnsupportedVersion, match="follows version 1 of the change 'x'"):
        run.crash(new(2))

    run.crash(new(1))
    run.complete("c")
    assert run.result == 1


def test_recorded_version_is_kept_when_newer_ones_come(start: Start) -> None:
    run = start(called_first)
    run.args = (1, 5)
    run.complete("a")
    run.crash()
    run.complete("b")

    assert run.result == 2


@pytest.mark.parametrize("supported", [(1, 1), (3, 4)])
def test_recorded_version_that_is_not_supported_blocks(supported: tuple[int, int]) -> None:
    run = Run(called_first)
    run.args = supported

    with pytest.raises(UnsupportedVersion, match="supports"):
        run.crash()

    run.args = (1, 2)
    run.crash()
    run.complete("a")
    run.complete("b")
    assert run.result == 2


def test_unsupported_version_cannot_be_caught_by_the_workflow() -> None:
    async def workflow() -> Any:
        try:
            get_version("x", 3, 4)
        except Exception:
            await step("other")

    run = Run(called_first)

    with pytest.raises(UnsupportedVersion):
        run.crash(workflow)


def test_call_in_a_loop_gives_one_answer_for_the_whole_run() -> None:
    async def old() -> None:
        for _ in range(3):
            await step("work")

    async def new() -> Any:
        seen = []
        for _ in range(3):
            seen.append(get_version("x", 1, 2))
            await step("work")
        return seen

    run = Run(old)
    run.complete("work")
    run.crash(new)
    run.complete("work")
    run.complete("work")

    assert run.result == [1, 1, 1]


def test_version_recorded_later_is_known_to_an_earlier_call() -> None:
    async def old() -> Any:
        await step("a")
        get_version("x", 1, 2)
        await step("b")

    run = Run(old)
    run.complete("a")
    run.crash(called_first)
    run.complete("b")

    assert run.result == 2


def test_calls_may_be_removed(start: Start) -> None:
    async def without() -> Any:
        await step("a")
        await step("b")

    run = start(called_first)
    run.crash(without)
    run.complete("a")
    run.complete("b")

    assert run.result is None


def test_several_changes_are_told_apart(start: Start) -> None:
    async def workflow() -> Any:
        return [get_version("x", 1, 2), get_version("y", 1, 7), get_version("x", 0, 9)]

    run = start(workflow)

    assert run.result == [2, 7, 2]
    assert run.short == ["version x", "version y", "complete"]


def test_range_has_to_be_one(start: Start) -> None:
    async def workflow() -> Any:
        with pytest.raises(ValueError, match="min_version 2 is above 1"):
            get_version("x", 2, 1)

    assert start(workflow).result is None


@pytest.mark.parametrize("change", ["", "x" * 501, "a\x00b", "\ud800", None, 7])
def test_change_needs_a_name_that_can_be_stored(start: Start, change: Any) -> None:
    async def workflow() -> Any:
        with pytest.raises(InvalidArgument, match="change_id of get_version"):
            get_version(change, 1, 2)

    assert start(workflow).short == ["complete"]


@pytest.mark.parametrize("wrong", ["2", 2.0, True, None])
def test_versions_are_whole_numbers(start: Start, wrong: Any) -> None:
    async def workflow() -> Any:
        with pytest.raises(TypeError, match="max_version has to be a whole number"):
            get_version("x", 1, wrong)
        with pytest.raises(TypeError, match="min_version has to be a whole number"):
            get_version("x", wrong, 2)

    assert start(workflow).short == ["complete"]


def test_a_change_without_get_version_does_not_go_through() -> None:
    run = Run(unchanged)
    run.complete("charge")

    async def new() -> None:
        await step("charge")
        await step("sms")
        await step("receipt")

    with pytest.raises(NonDeterminism, match="get_version"):
        run.crash(new)

"""A workflow goes on as a new run of itself: what that run has, and what it leaves behind."""

import asyncio
import contextlib
import json
from typing import Any
from uuid import UUID

import pytest

from currant.errors import NonDeterminism
from currant.workflow import api
from currant.workflow.api import wait_for_signal
from currant.workflow.history import Carried, started_payload
from tests.workflow.conftest import Start
from tests.workflow.support import Run, anew, child, step


async def counting(count: int, total: int) -> Any:
    """Ends after some runs."""
    total += await step("count", count)
    if count:
        anew(count - 1, total)
    return total


def test_new_run_has_the_new_arguments_and_a_history_of_its_own(start: Start) -> None:
    run = start(counting, 2, 0)
    run.complete("count", 10)
    assert run.first_event == 3
    assert len(run.history) == 1
    run.complete("count", 20)
    run.complete("count", 30)

    assert run.result == 60
    assert run.short == [
        "task 1 count", "continue_as_new",
        "task 2 count", "continue_as_new",
        "task 3 count", "complete",
    ]  # fmt: skip
    assert [c.event for c in run.commands] == [1, 2, 3, 4, 5, 6]


def test_run_may_continue_at_once(start: Start) -> None:
    async def workflow(count: int) -> Any:
        if count:
            anew(count - 1)
        return "done"

    run = start(workflow, 3)

    assert run.result == "done"
    assert run.short == ["continue_as_new"] * 3 + ["complete"]


def test_finished_run_takes_no_more_events() -> None:
    async def workflow() -> Any:
        await step("a")
        anew()

    run = Run(workflow)
    instance = run.instance
    run.complete("a")

    assert instance.finished
    assert instance.blocked is None
    assert run.instance is not instance
    with pytest.raises(RuntimeError, match="takes no more events"):
        instance.apply(run.history[0].event)


def test_command_tells_arguments_unread_signals_and_place(start: Start) -> None:
    async def workflow(first: bool) -> Any:
        if not first:
            return None
        await step("a")
        return anew(False)

    run = start(workflow, True)
    run.signal("x", 1)
    run.signal("y", {"z": None})
    run.signal("x", 2)
    run.complete("a")

    command = run.commands[1]
    assert command.number is None
    assert command.source == f"support.py:{anew.__code__.co_firstlineno + 2}"
    assert json.loads(command.payload or "") == {
        "args": [False],
        "signals": [
            {"name": "x", "payload": 1, "event": 2},
            {"name": "y", "payload": {"z": None}, "event": 3},
            {"name": "x", "payload": 2, "event": 4},
        ],
    }


def test_unread_signals_follow_in_their_order(start: Start) -> None:
    async def workflow(seen: list[Any]) -> Any:
        if len(seen) == 4:
            return seen
        await step("a")
        seen.append(await wait_for_signal("x" if len(seen) < 3 else "y"))
        return anew(seen)

    run = start(workflow, [])
    for name, payload in (("x", 1), ("y", 9), ("x", 2), ("x", 3)):
        run.signal(name, payload)
    for _ in range(4):
        run.complete("a")

    assert run.result == [1, 2, 3, 9]


def test_signals_that_come_later_queue_up_behind(start: Start) -> None:
    async def workflow(first: bool) -> Any:
        await step("a")
        if first:
            anew(False)
        return [await wait_for_signal("x") for _ in range(2)]

    run = start(workflow, True)
    run.signal("x", "before")
    run.complete("a")
    run.signal("x", "after")
    run.complete("a")

    assert run.result == ["before", "after"]


def test_carried_signals_keep_what_python_would_round() -> None:
    async def workflow() -> Any:
        return await wait_for_signal("x", decode=lambda text: text)

    run = Run(workflow)
    run.instance.close()
    signals = '[{"name": "x", "payload": {"big": 1e999, "exact": 0.10}}]'
    run.history = []
    run.instance = run._new_instance(strict=False)
    run._apply("started", payload=started_payload(1, Carried(0, signals)))

    assert run.result == '{"big": 1e999, "exact": 0.10}'


def test_signal_that_was_taken_is_not_carried(start: Start) -> None:
    async def workflow(first: bool) -> Any:
        if not first:
            try:
                return await wait_for_signal("x", timeout=0)
            except TimeoutError:
                return "none"
        asyncio.create_task(wait_for_signal("x"))  # noqa: RUF006
        await step("a")
        return anew(False)

    run = start(workflow, True)
    run.signal("x", 1)
    run.complete("a")
    run.fire()

    assert run.result == "none"


def test_results_meant_for_the_run_before_are_ignored(start: Start) -> None:
    async def workflow(first: bool) -> Any:
        if first:
            tasks = [
                asyncio.create_task(step("left")),
                asyncio.create_task(child("left")),
                asyncio.create_task(asyncio.sleep(5)),
            ]
            await wait_for_signal("go")
            del tasks
            anew(False)
        return await step("mine")

    run = start(workflow, True)
    run.signal("go")
    run.late(1, "old")
    run.late(2, "old", kind="child")
    run._apply("timer_fired", 3)
    run.complete("mine", "new")

    assert run.result == "new"
    assert run.short[-2:] == ["task 4 mine", "complete"]


def test_cancellation_that_comes_after_it_reaches_the_new_run(start: Start) -> None:
    async def workflow(first: bool) -> Any:
        try:
            await step("a")
        except asyncio.CancelledError as request:
            return ["cancelled", str(request), first]
        return anew(False)

    run = start(workflow, True)
    run.complete("a")
    run.cancel("enough")

    assert run.result == ["cancelled", "enough", False]


def test_cancellation_may_be_answered_by_continuing_and_then_asked_for_again(
    start: Start,
) -> None:
    async def workflow(first: bool) -> Any:
        try:
            await step("a")
        except asyncio.CancelledError:
            if first:
                anew(False)
            raise

    run = start(workflow, True)
    run.cancel("once")
    run.cancel("twice")

    assert run.error == {"type": "Cancelled", "message": "twice"}
    assert run.short == [
        "task 1 a", "cancel 1", "continue_as_new", "task 2 a", "cancel 2", "cancelled",
    ]  # fmt: skip


def test_versions_start_anew(start: Start) -> None:
    async def workflow(seen: list[int]) -> Any:
        seen.append(api.get_version("x", 1, 2 + len(seen)))
        await step("a")
        seen.append(api.get_version("x", 1, 2 + len(seen)))
        if len(seen) == 2:
            anew(seen)
        return seen

    run = start(workflow, [])
    run.complete("a")
    run.complete("a")

    assert run.result == [2, 2, 4, 4]


def test_random_numbers_and_ids_differ_from_run_to_run(start: Start) -> None:
    async def workflow(seen: list[Any]) -> Any:
        drawn = [
            api.random().random(),
            str(api.uuid4()),
            str(await api.queue_execution("f", "{}", {})),
        ]
        await step("a")
        drawn += [api.random().random(), str(api.uuid4())]
        if len(seen) < 10:
            anew(seen + drawn)
        return seen + drawn

    runs = [start(workflow, []) for _ in range(2)]
    for run in runs:
        for _ in range(3):
            run.complete("a")

    assert runs[0].result == runs[1].result
    assert len(set(runs[0].result)) == 15
    assert {UUID(text).version for text in runs[0].result if isinstance(text, str)} == {4, 7}


def test_it_passes_by_who_catches_exceptions_and_runs_clean_up(start: Start) -> None:
    async def workflow(first: bool) -> Any:
        try:
            if first:
                anew(False)
        except Exception:
            return "caught"
        finally:
            await step("clean up")
        return "second"

    run = start(workflow, True)
    run.complete("clean up")
    run.complete("clean up")

    assert run.result == "second"
    assert run.short[:2] == ["task 1 clean up", "continue_as_new"]


@pytest.mark.parametrize("how", ["gather", "group", "groups", "task", "wait_for"])
def test_it_may_come_out_of_what_the_workflow_awaits(start: Start, how: str) -> None:
    async def again() -> None:
        await step("a")
        anew("over")

    async def group() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(step("sibling"))
            group.create_task(again())

    async def workflow(how: str) -> Any:
        match how:
            case "gather":
                await asyncio.gather(again(), step("sibling"))
            case "group":
                await group()
            case "groups":
                async with asyncio.TaskGroup() as outer:
                    outer.create_task(group())
            case "task":
                await asyncio.create_task(again())
            case "wait_for":
                await asyncio.wait_for(again(), 60)
        return how

    run = start(workflow, how)
    run.complete("a")

    assert run.result == "over"
    assert run.past[0][-1].commands[-1].kind == "continue_as_new"


def test_it_does_not_hide_what_failed_beside_it(start: Start) -> None:
    async def again() -> None:
        anew()

    async def broken() -> None:
        raise ValueError("broken")

    async def workflow() -> Any:
        async with asyncio.TaskGroup() as group:
            group.create_task(broken())
            group.create_task(again())

    run = start(workflow)

    assert run.error["type"] == "BaseExceptionGroup"
    assert "ValueError: broken; ContinueAsNew" in run.error["message"]


def test_background_tasks_end_with_the_run(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    seen: list[str] = []

    async def background() -> None:
        try:
            await step("never")
        finally:
            seen.append("closed")

    async def workflow(first: bool) -> Any:
        if first:
            task = asyncio.create_task(background())
            await wait_for_signal("go")
            del task
            anew(False)
        return "over"

    run = start(workflow, True)
    run.signal("go")

    assert run.result == "over"
    assert "closed" in seen
    assert [r.getMessage() for r in caplog.records if "did not await" in r.getMessage()] != []


def test_in_a_background_task_it_is_an_exception_that_nobody_awaits(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    async def again() -> None:
        anew()

    async def workflow() -> Any:
        asyncio.create_task(again())  # noqa: RUF006
        await step("a")

    run = start(workflow)
    run.complete("a")

    assert run.short == ["task 1 a", "complete"]
    assert "which nobody awaited" in caplog.text


def test_code_that_no_longer_continues_does_not_follow() -> None:
    async def workflow(first: bool) -> Any:
        with contextlib.suppress(TimeoutError):
            await wait_for_signal("x", timeout=5)
        if first:
            anew(False)
        await step("a")

    async def changed(first: bool) -> Any:
        with contextlib.suppress(TimeoutError):
            await wait_for_signal("x", timeout=5)
        return "over"

    run = Run(workflow, True)
    run.fire()
    (steps,) = run.past
    instance = run._new_instance(strict=False, run=steps)
    instance.close()
    run.workflow = changed
    instance = run._new_instance(strict=False, run=steps)

    with pytest.raises(NonDeterminism, match=r"expected continue_as_new .* produced complete"):
        instance.replay(steps)
    instance.close()

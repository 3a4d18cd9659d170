"""A request to cancel reaches the main task once; asyncio's rules do the rest."""

import asyncio
import contextlib
from typing import Any

import pytest

from currant.errors import TaskFailed
from currant.workflow.api import wait_for_signal
from tests.workflow.conftest import Start
from tests.workflow.support import child, step


def test_waiting_workflow_is_cancelled_with_its_open_task(start: Start) -> None:
    async def workflow() -> Any:
        await step("long")

    run = start(workflow)
    run.cancel("no longer needed")

    assert run.short == ["task 1 long", "cancel 1", "cancelled"]
    assert run.error == {"type": "Cancelled", "message": "no longer needed"}


def test_gather_is_cancelled_as_a_whole(start: Start) -> None:
    async def workflow() -> Any:
        await asyncio.gather(step("a"), asyncio.sleep(5), wait_for_signal("s", timeout=7))

    run = start(workflow)
    run.cancel()

    assert run.short == [
        "task 1 a", "timer 2", "timer 3 signal s", "cancel 1", "cancel 2", "cancel 3", "cancelled",
    ]  # fmt: skip


def test_clean_up_may_run_further_tasks(start: Start) -> None:
    async def workflow() -> Any:
        try:
            await step("charge")
        finally:
            await step("refund")

    run = start(workflow)
    run.cancel()
    run.complete("refund")

    assert run.short == ["task 1 charge", "cancel 1", "task 2 refund", "cancelled"]


def test_cancellation_that_is_caught_lets_it_complete(start: Start) -> None:
    async def workflow() -> Any:
        try:
            await step("charge")
        except asyncio.CancelledError as request:
            return ["stopped", str(request)]

    run = start(workflow)
    run.cancel("why")

    assert run.result == ["stopped", "why"]


def test_second_request_does_not_interrupt_the_clean_up(start: Start) -> None:
    async def workflow() -> Any:
        with contextlib.suppress(asyncio.CancelledError):
            await step("charge")
        return await step("more")

    run = start(workflow)
    run.cancel()
    run.cancel()
    run.complete("more", "done")

    assert run.result == "done"


def test_request_is_counted_once_and_never_taken_back(start: Start) -> None:
    async def workflow() -> Any:
        task = asyncio.current_task()
        assert task is not None
        seen = []
        for name in "ab":
            try:
                await step(name)
            except asyncio.CancelledError:
                seen.append("cancelled")
            seen.append(task.cancelling())
        return seen

    run = start(workflow)
    run.cancel()
    run.cancel()
    run.complete("b")

    assert run.result == ["cancelled", 1, 1]


def test_cancellation_in_the_same_intake_leaves_a_ready_result_alone(start: Start) -> None:
    async def workflow() -> Any:
        value = await step("a")
        try:
            await step("b")
        except asyncio.CancelledError:
            return value

    run = start(workflow)
    run.complete("a", "kept")
    run.cancel()

    assert run.result == "kept"


def test_cancelled_wait_for_a_signal_leaves_the_signal_to_others(start: Start) -> None:
    async def workflow() -> Any:
        try:
            await wait_for_signal("n", timeout=60)
        except asyncio.CancelledError:
            return await wait_for_signal("n")

    run = start(workflow)
    run.cancel()
    run.signal("n", 1)

    assert run.result == 1
    assert run.short == ["timer 1 signal n", "cancel 1", "complete"]


@pytest.mark.parametrize(("ask", "kind"), [(step, "task"), (child, "child")])
def test_shielded_part_goes_on(ask: Any, kind: str, start: Start) -> None:
    async def workflow() -> Any:
        kept = asyncio.create_task(ask("kept"))
        try:
            await asyncio.gather(asyncio.shield(kept), ask("dropped"))
        except asyncio.CancelledError:
            return await kept

    run = start(workflow)
    run.cancel()
    run.complete("kept", 1)

    assert run.result == 1
    assert run.short == [f"{kind} 1 kept", f"{kind} 2 dropped", "cancel 2", "complete"]


def test_cancel_before_anything_was_awaited(start: Start) -> None:
    async def workflow() -> Any:
        await asyncio.Event().wait()

    run = start(workflow)
    assert run.instance.blocked is not None
    run.cancel()

    assert run.error["type"] == "Cancelled"


def test_late_result_of_a_cancelled_task_is_ignored(start: Start) -> None:
    async def workflow() -> Any:
        task = asyncio.create_task(step("slow"))
        await asyncio.sleep(1)
        task.cancel()
        await step("next")

    run = start(workflow)
    run.fire()
    run.late(1, "too late")
    run.complete("next")

    assert run.result is None


def test_result_and_cancel_in_one_commit_keep_their_order(start: Start) -> None:
    async def workflow() -> Any:
        value = await step("a")
        await step("b", value)

    run = start(workflow)
    run.complete("a", 1)
    run.cancel()

    assert run.short == ["task 1 a", "task 2 b", "cancel 2", "cancelled"]


def test_cancelled_error_nobody_asked_for_fails_the_workflow(start: Start) -> None:
    async def workflow() -> Any:
        raise asyncio.CancelledError("my own")

    run = start(workflow)

    assert run.end is not None
    assert run.end.kind == "fail"
    assert run.error["type"] == "CancelledError"


def test_awaiting_a_task_one_cancelled_oneself_fails_the_workflow(start: Start) -> None:
    async def workflow() -> Any:
        task = asyncio.create_task(step("a"))
        await asyncio.sleep(0)
        task.cancel()
        await task

    run = start(workflow)

    assert run.error["type"] == "CancelledError"
    assert run.short == ["fail"]


def test_task_cancelled_by_an_operator_is_a_failure_not_a_cancellation(start: Start) -> None:
    async def workflow() -> Any:
        try:
            await step("a")
        except TaskFailed as error:
            return error.type

    run = start(workflow)
    run.fail("a", "Cancelled", "by hand")

    assert run.result == "Cancelled"


def test_task_timeout_is_a_failure_not_a_timeout_error(start: Start) -> None:
    async def workflow() -> Any:
        try:
            async with asyncio.timeout(1000):
                await step("a")
        except TaskFailed as error:
            return [error.type, error.attempts, error.function]

    run = start(workflow)
    run.fail("a", "Timeout", "took too long")

    assert run.result == ["Timeout", 3, "a"]


def test_never_started_coroutine_asks_for_nothing(start: Start) -> None:
    async def workflow() -> Any:
        task = asyncio.create_task(step("never"))
        task.cancel()
        await step("other")

    run = start(workflow)
    run.complete("other")

    assert run.short == ["task 1 other", "complete"]


def test_task_created_and_cancelled_in_one_drain_leaves_no_gap(start: Start) -> None:
    async def workflow() -> Any:
        task = asyncio.create_task(step("a"))
        await asyncio.sleep(0)
        task.cancel()
        await step("b")

    run = start(workflow)
    run.complete("b")

    assert run.short == ["task 1 b", "complete"]


def test_task_group_in_a_cancelled_workflow(start: Start) -> None:
    async def workflow() -> Any:
        try:
            async with asyncio.TaskGroup() as group:
                for name in "abc":
                    group.create_task(step(name))
        finally:
            await step("clean")

    run = start(workflow)
    run.complete("b")
    run.cancel()
    run.complete("clean")

    assert run.short == [
        "task 1 a", "task 2 b", "task 3 c", "cancel 1", "cancel 3", "task 4 clean", "cancelled",
    ]  # fmt: skip


def test_cancellation_that_is_raised_again_as_a_group_ends_it_as_cancelled(start: Start) -> None:
    async def workflow() -> Any:
        try:
            await step("long")
        except* asyncio.CancelledError:
            await step("clean up")
            raise

    run = start(workflow)
    run.cancel("no longer needed")
    run.complete("clean up")

    assert run.short == ["task 1 long", "cancel 1", "task 2 clean up", "cancelled"]
    assert run.error == {"type": "Cancelled", "message": "no longer needed"}


def test_group_with_a_failure_in_it_fails_what_was_to_be_cancelled(start: Start) -> None:
    async def workflow() -> Any:
        try:
            await step("long")
        except* asyncio.CancelledError as group:
            raise BaseExceptionGroup("both", [group, ValueError("of the clean-up")]) from None

    run = start(workflow)
    run.cancel()

    assert run.short == ["task 1 long", "cancel 1", "fail"]
    assert "of the clean-up" in run.error["message"]


def test_cancellations_that_nobody_asked_for_are_a_failure(start: Start) -> None:
    async def workflow() -> Any:
        raise BaseExceptionGroup("own", [asyncio.CancelledError(), asyncio.CancelledError()])

    assert start(workflow).short == ["fail"]

"""Other executions: children, those one attaches to, and those one only tells something."""

import asyncio
import contextlib
import json
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest

from currant.errors import (
    Cancelled,
    ChildFailed,
    ExecutionFailed,
    ExecutionNotFound,
    InvalidArgument,
    TaskFailed,
)
from currant.workflow import api
from tests.workflow.conftest import Start
from tests.workflow.support import RUN_ID, Run, child, step

OTHER = UUID("0199d3c0-0000-7000-8000-00000000000f")


# --- children


def test_child_is_asked_for_and_gives_its_result(start: Start) -> None:
    async def workflow() -> Any:
        return await child("ship", "order", 7, queue="shipping", on_parent_end="abandon")

    run = start(workflow)
    run.complete("ship", {"parcel": 1})

    assert run.result == {"parcel": 1}
    assert run.short == ["child 1 ship", "complete"]
    asked = run.payload(1)
    assert asked["args"] == ["order", 7]
    assert asked["options"] == {"queue": "shipping", "on_parent_end": "abandon"}
    assert UUID(asked["id"]).version == 7


def test_failed_child_says_what_failed(start: Start) -> None:
    async def workflow() -> Any:
        try:
            await child("ship")
        except ChildFailed as error:
            cause = error.cause
            assert cause is not None
            return [
                error.type, error.reason, error.traceback, error.attempts, error.status,
                error.function, error.execution_id, type(cause).__name__, cause.type,
                cause.function,
            ]  # fmt: skip

    run = start(workflow)
    cause = {"raised": "TaskFailed", "type": "Lost", "message": "gone", "function": "load"}
    run.fail("ship", "Lost", "gone", attempts=1, traceback="at ship", cause=cause)

    assert run.result == [
        "Lost", "gone", "at ship", 1, "failed", "ship", run.payload(1)["id"], "TaskFailed", "Lost",
        "load",
    ]  # fmt: skip


def test_failed_child_that_escapes_keeps_its_type_and_becomes_the_cause(start: Start) -> None:
    async def workflow() -> Any:
        await child("ship")

    run = start(workflow)
    run.fail("ship", "Lost", "gone")

    assert run.error["type"] == "Lost"
    assert run.error["cause"]["raised"] == "ChildFailed"
    assert run.error["cause"]["function"] == "ship"


def test_child_cancelled_by_somebody_else_is_a_failure(start: Start) -> None:
    async def workflow() -> Any:
        try:
            await child("ship")
        except ChildFailed as error:
            return [error.status, error.type, str(error)]

    run = start(workflow)
    run.fail("ship", "Cancelled", "by hand", status="cancelled")

    identity = run.payload(1)["id"]
    assert run.result == ["cancelled", "Cancelled", f"ship {identity} was cancelled: by hand"]


def test_child_whose_key_is_taken_is_that_other_execution(start: Start) -> None:
    async def workflow() -> Any:
        first = await child("ship", key="order-7")
        try:
            await child("ship", key="order-8", key_scope="open")
        except ChildFailed as error:
            return [first, error.type, error.execution_id]

    run = start(workflow)
    run.complete("ship", "shipped", by="attached")
    run.open.clear()
    error = {"type": "Lost", "message": "gone", "status": "failed"}
    run._apply("attached_failed", 2, payload=json.dumps(error), execution=OTHER)

    assert run.result == ["shipped", "Lost", str(OTHER)]
    assert run.payload(2)["options"] == {"key": "order-8", "key_scope": "open"}


def test_children_run_together(start: Start) -> None:
    async def workflow() -> Any:
        return await asyncio.gather(child("a"), step("b"), child("c"))

    run = start(workflow)
    run.complete("c", 3)
    run.complete("a", 1)
    run.complete("b", 2)

    assert run.result == [1, 2, 3]
    assert run.short[:3] == ["child 1 a", "task 2 b", "child 3 c"]


def test_child_is_cancelled_with_the_workflow_that_waits_for_it(start: Start) -> None:
    async def workflow() -> Any:
        try:
            await child("ship")
        finally:
            await child("return")

    run = start(workflow)
    run.cancel("why")
    run.late(1, "shipped after all", kind="child")
    run.complete("return")

    assert run.short == ["child 1 ship", "cancel 1", "child 2 return", "cancelled"]


def test_failed_child_cancels_its_group(start: Start) -> None:
    async def workflow() -> Any:
        try:
            async with asyncio.TaskGroup() as group:
                for name in "abc":
                    group.create_task(child(name))
        except ExceptionGroup as failed:
            return [str(error) for error in failed.exceptions]

    run = start(workflow)
    run.complete("a")
    run.fail("b", "Lost", "gone")

    assert run.result == [f"b {run.payload(2)['id']} failed after 3 attempts: Lost: gone"]
    assert run.short[3:] == ["cancel 3", "complete"]


def test_timeout_cancels_a_child(start: Start) -> None:
    async def workflow() -> Any:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(60):
                await child("slow")
        return await child("quick")

    run = start(workflow)
    run.fire()
    run.complete("quick", 2)

    assert run.result == 2
    assert run.short == ["timer 1", "child 2 slow", "cancel 2", "child 3 quick", "complete"]


def test_child_that_ended_before_its_time_is_cancelled_once(start: Start) -> None:
    async def workflow() -> Any:
        tasks = [asyncio.create_task(child(name)) for name in "ab"]
        done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in (*done, *pending):
            task.cancel()
        await asyncio.wait(tasks)
        return [task.cancelled() for task in tasks]

    run = start(workflow)
    run.complete("b")

    assert run.result == [True, False]
    assert run.short == ["child 1 a", "child 2 b", "cancel 1", "complete"]


def test_children_that_were_never_begun_leave_nothing(start: Start) -> None:
    async def workflow() -> Any:
        never = child("never")
        never.close()
        task = asyncio.create_task(child("begun"))
        await asyncio.sleep(0)
        task.cancel()
        await step("a")

    run = start(workflow)
    run.complete("a")

    assert run.short == ["task 1 a", "complete"]


def test_result_of_a_child_that_does_not_decode_raises_where_it_is_awaited(start: Start) -> None:
    def decode(text: str) -> int:
        return int(json.loads(text))

    async def workflow() -> Any:
        try:
            await api.run_child("ship", "[]", {}, decode)
        except ValueError as error:
            return str(error)

    run = start(workflow)
    run.complete("ship", "many")

    assert "invalid literal" in run.result


def test_children_of_the_end_are_not_awaited(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    async def workflow() -> Any:
        task = asyncio.create_task(child("left"))
        await step("a")
        return task.done()

    run = start(workflow)
    run.complete("a")

    assert run.result is False
    assert run.short == ["task 1 a", "child 2 left", "complete"]
    assert "tasks that it did not await" in caplog.text


# --- attaching


def attached(run: Run, kind: str, payload: Any) -> None:
    del run.open[1]
    run._apply(f"attached_{kind}", 1, payload=json.dumps(payload), execution=OTHER)


def test_result_of_another_execution_is_waited_for(start: Start) -> None:
    async def workflow() -> Any:
        return await api.attach(OTHER, "export", json.loads)

    run = start(workflow)
    assert run.instance.waiting_for() == f"the end of export {OTHER}"
    assert run.instance.blocked is None
    attached(run, "completed", {"rows": 3})

    assert run.result == {"rows": 3}
    assert run.short == ["attach 1 export", "complete"]
    assert run.payload(1) == {"execution": str(OTHER)}


@pytest.mark.parametrize(
    ("payload", "raised"),
    [
        ({"type": "Lost", "message": "gone", "status": "failed", "attempts": 2}, ExecutionFailed),
        ({"type": "Cancelled", "message": "no", "status": "cancelled", "attempts": 0}, Cancelled),
        (
            {"type": "OwnAncestor", "message": "x", "status": "failed", "attempts": 0},
            ExecutionFailed,
        ),
    ],
)
def test_attaching_raises_what_a_client_would_see(
    start: Start, payload: dict[str, Any], raised: type[ExecutionFailed]
) -> None:
    async def workflow() -> Any:
        try:
            await api.attach(OTHER)
        except raised as error:
            return [error.type, error.reason, error.status, error.execution_id, error.attempts]

    run = start(workflow)
    attached(run, "failed", payload)

    expected = [payload[name] for name in ("type", "message", "status")]
    assert run.result == [*expected, str(OTHER), payload["attempts"]]


def test_attaching_to_nothing_says_so(start: Start) -> None:
    async def workflow() -> Any:
        try:
            await api.attach(OTHER)
        except ExecutionNotFound as error:
            return str(error)

    run = start(workflow)
    message = f"there is no execution {OTHER}"
    attached(run, "failed", {"type": "ExecutionNotFound", "message": message, "attempts": 0})

    assert run.result.startswith(message)


def test_attachment_is_given_up_when_nobody_waits_any_more(start: Start) -> None:
    async def workflow() -> Any:
        try:
            async with asyncio.timeout(5):
                await api.attach(OTHER)
        except TimeoutError:
            return await api.attach(OTHER)

    run = start(workflow)
    run.fire()
    run.late(2, "of the first", kind="attached")
    run.complete(3, "of the second")

    assert run.result == "of the second"
    assert run.short == ["timer 1", "attach 2", "cancel 2", "attach 3", "complete"]


def test_attachment_ends_with_a_cancelled_workflow(start: Start) -> None:
    async def workflow() -> Any:
        await api.attach(OTHER)

    run = start(workflow)
    run.cancel()

    assert run.short == ["attach 1", "cancel 1", "cancelled"]


# --- telling others something


def test_cancellation_of_another_is_asked_for(start: Start) -> None:
    async def workflow() -> Any:
        await api.request_cancel(OTHER, "too\x00 late")
        await api.request_cancel(OTHER)
        await step("a")

    run = start(workflow)
    run.complete("a")

    assert run.short == ["request_cancel 1", "request_cancel 2", "task 3 a", "complete"]
    assert run.payload(1) == {"execution": str(OTHER), "reason": "too\ufffd late"}
    assert run.payload(2) == {"execution": str(OTHER), "reason": None}


def test_reason_of_a_cancellation_is_a_text(start: Start) -> None:
    async def workflow() -> Any:
        with pytest.raises(TypeError, match="reason of a cancellation is a text"):
            await api.request_cancel(OTHER, 7)  # type: ignore[arg-type]

    assert start(workflow).short == ["complete"]


def test_signal_may_go_to_who_holds_a_key(start: Start) -> None:
    async def workflow() -> Any:
        return str(await api.send_signal(("ship", 'order "7"'), "paid", "[1]"))

    run = start(workflow)

    assert run.short == ["signal 1 paid", "complete"]
    assert run.payload(1) == {
        "id": run.result, "function": "ship", "key": 'order "7"', "payload": [1],
    }  # fmt: skip


def test_signals_need_a_name_that_can_be_stored(start: Start) -> None:
    async def workflow() -> Any:
        with pytest.raises(InvalidArgument, match="a signal's name"):
            await api.send_signal(OTHER, "", "null")

    assert start(workflow).short == ["complete"]


@pytest.mark.parametrize(
    "ask",
    [
        lambda: api.request_cancel(OTHER),
        lambda: api.send_signal(OTHER, "n", "null"),
        lambda: api.queue_execution("f", "{}", {}),
        lambda: child("late"),
        lambda: api.attach(OTHER),
    ],
)
def test_nothing_is_asked_for_in_the_clean_up_of_a_forgotten_run(
    ask: Callable[[], Any],
) -> None:
    async def workflow() -> Any:
        try:
            await step("a")
        finally:
            await ask()

    run = Run(workflow)
    run.instance.close()

    assert run.short == ["task 1 a"]


def test_what_is_waited_for_is_told_in_words() -> None:
    async def workflow() -> Any:
        await asyncio.gather(
            child("ship"), step("charge"), api.attach(OTHER), api.wait_for_signal("s", 5)
        )

    waits = Run(workflow).instance.waiting_for()

    assert waits == f"child ship, task charge, the end of execution {OTHER}, timer, signal s"


def test_ids_of_children_follow_from_run_and_number(start: Start) -> None:
    async def workflow() -> Any:
        await asyncio.gather(child("a"), child("b"))

    run = start(workflow)

    ids = {UUID(run.payload(number)["id"]) for number in (1, 2)}
    assert len({*ids, RUN_ID}) == 3


def test_task_and_child_failures_are_told_apart(start: Start) -> None:
    async def workflow() -> Any:
        results = await asyncio.gather(step("a"), child("b"), return_exceptions=True)
        return [
            type(result) is kind
            for result, kind in zip(results, (TaskFailed, ChildFailed), strict=True)
        ]

    run = start(workflow)
    run.fail("b")
    run.fail("a")

    assert run.result == [True, True]

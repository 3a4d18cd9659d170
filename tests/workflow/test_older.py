"""Places where versions of Python differ; runs have to come to the same on each of them.

What is expected here is what plain asyncio does on Python 3.13.
"""

import asyncio
from asyncio import tasks as asyncio_tasks
from collections.abc import Callable
from typing import Any

import pytest

from currant.workflow import substitutes
from tests.workflow.support import Run, step

Start = Callable[..., Run]


async def gather_what_is_done() -> list[str]:
    seen: list[str] = []

    async def note(*names: str) -> None:
        for name in names:
            seen.append(name)
            await asyncio.sleep(0)

    done = asyncio.create_task(note())
    await done
    others = asyncio.create_task(note("other"))
    await asyncio.gather(done)
    seen.append("gathered")
    await others
    return seen


async def cancel_a_group_that_fails() -> list[str]:
    seen: list[str] = []

    async def fail() -> None:
        try:
            await step("a")
        finally:
            raise ValueError

    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(fail())
    except* ValueError:
        seen.append("failed")
    try:
        await step("b")
    except asyncio.CancelledError:
        seen.append("cancelled")
    return seen


async def cancel_who_was_notified() -> list[str]:
    seen: list[str] = []
    condition = asyncio.Condition()

    async def wait(name: str) -> None:
        async with condition:
            await condition.wait()
            seen.append(name)

    first, second = asyncio.create_task(wait("first")), asyncio.create_task(wait("second"))
    await asyncio.sleep(0)
    async with condition:
        condition.notify()
    first.cancel()
    done, _ = await asyncio.wait([first, second], timeout=1)
    return [*seen, str(len(done))]


async def cancel_whose_turn_it_was() -> list[str]:
    seen: list[str] = []
    semaphore = asyncio.Semaphore(1)

    async def enter(name: str) -> None:
        async with semaphore:
            seen.append(name)

    await semaphore.acquire()
    first, second, third = (asyncio.create_task(enter(name)) for name in "abc")
    await asyncio.sleep(0)
    semaphore.release()
    first.cancel()
    await asyncio.wait([first, second, third])
    return seen


async def take_back_ones_own_cancellation() -> list[Any]:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    task.cancel()
    counts = [task.cancelling(), task.uncancel(), task.uncancel(), task.uncancel()]
    await step("a")
    return counts


async def cancel_oneself_and_return() -> list[Any]:
    async def stop(message: str, waits: bool) -> str:
        task = asyncio.current_task()
        assert task is not None
        task.cancel(message)
        if waits:
            await step("a")
        return "returned"

    results = await asyncio.gather(stop("x", True), stop("y", False), return_exceptions=True)
    return [repr(result) for result in results]


async def cancel_within_a_cancelled_timeout() -> list[str]:
    seen: list[str] = []

    async def fail() -> None:
        try:
            await asyncio.sleep(10)
        finally:
            raise ValueError

    try:
        async with asyncio.timeout(1):
            async with asyncio.TaskGroup() as group:
                group.create_task(fail())
    except* ValueError:
        seen.append("failed")
    # The time-out is over, so nothing of its cancellation may be left.
    await step("a")
    return [*seen, "went on"]


def test_gather_takes_no_turn_for_what_is_done(start: Start) -> None:
    run = start(gather_what_is_done)

    assert run.result == ["gathered", "other"]


def test_a_cancellation_outlives_a_group_that_fails(start: Start) -> None:
    run = start(cancel_a_group_that_fails)

    run.cancel()

    assert run.result == ["failed", "cancelled"]


def test_a_notice_goes_to_the_next_if_the_first_is_cancelled(start: Start) -> None:
    run = start(cancel_who_was_notified)

    assert run.result == ["second", "2"]


def test_a_turn_goes_to_the_next_if_the_first_is_cancelled(start: Start) -> None:
    run = start(cancel_whose_turn_it_was)

    assert run.result == ["b", "c"]


def test_ones_own_cancellation_can_be_taken_back(start: Start) -> None:
    run = start(take_back_ones_own_cancellation)

    run.complete("a")

    assert run.result == [2, 1, 0, 0]


def test_who_cancels_itself_is_cancelled_at_its_next_wait_or_its_end(start: Start) -> None:
    run = start(cancel_oneself_and_return)

    assert run.result == ["CancelledError('')", "CancelledError('y')"]
    assert run.short == ["complete"]


def test_nothing_is_left_of_a_time_out_that_met_a_failure(start: Start) -> None:
    run = start(cancel_within_a_cancelled_timeout)

    run.fire()
    run.complete("a")

    assert run.result == ["failed", "went on"]


async def look_at_tasks() -> list[Any]:
    async def rest() -> None:
        await step("a")

    task = asyncio.create_task(rest())
    coroutine = task.get_coro()
    seen = [coroutine.__qualname__, "rest" in repr(task), isinstance(task, asyncio.Task)]
    await asyncio.sleep(0)
    seen.append(len(task.get_stack()))
    try:
        asyncio.get_running_loop().create_task(None)  # type: ignore[arg-type]
    except TypeError as error:
        seen.append(str(error))
    return seen


def test_tasks_look_as_ever(start: Start) -> None:
    run = start(look_at_tasks)

    name = "look_at_tasks.<locals>.rest"
    assert run.result == [name, True, True, 1, "a coroutine was expected, got None"]


@pytest.mark.parametrize("count", [1, 3])
def test_other_loops_are_left_as_they_are(count: int) -> None:
    async def main() -> list[str]:
        gate = asyncio.Semaphore(count)
        await gate.acquire()
        asyncio.get_running_loop().call_soon(gate.release)
        async with gate, asyncio.TaskGroup() as group:
            group.create_task(asyncio.sleep(0))
        condition = asyncio.Condition()
        async with condition:
            asyncio.get_running_loop().call_soon(_notify, condition)
            await condition.wait()
        return await asyncio.gather(asyncio.sleep(0, "done"), return_exceptions=True)

    assert asyncio.run(main()) == ["done"]


def _notify(condition: Any) -> None:
    async def notify() -> None:
        async with condition:
            condition.notify()

    condition.task = asyncio.ensure_future(notify())


def test_what_newer_versions_have_in_c_is_replaced_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def replacement() -> None: ...

    for module in (asyncio_tasks, asyncio):
        monkeypatch.setattr(module, "native", len, raising=False)

    substitutes._redirect("native", replacement)

    assert substitutes.original("native") is len
    assert asyncio_tasks.native is asyncio.native is replacement  # type: ignore[attr-defined]

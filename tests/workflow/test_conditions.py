"""wait_condition waits for the workflow's own variables."""

import asyncio
import contextvars
from datetime import timedelta
from typing import Any

import pytest

from currant.workflow.api import random, wait_condition, wait_for_signal
from tests.workflow.conftest import Start
from tests.workflow.support import Run, child, step


def test_wait_ends_when_it_comes_true(start: Start) -> None:
    async def workflow() -> Any:
        done: list[Any] = []

        async def work(name: str) -> None:
            done.append(await step(name))

        tasks = [asyncio.create_task(work(name)) for name in "abc"]
        await wait_condition(lambda: len(done) >= 2)
        for task in tasks:
            task.cancel()
        return done

    run = start(workflow)
    run.complete("c", 3)
    assert run.instance.blocked is None
    run.complete("a", 1)

    assert run.result == [3, 1]
    assert run.short == ["task 1 a", "task 2 b", "task 3 c", "complete"]


def test_what_is_true_already_is_not_waited_for(start: Start) -> None:
    async def workflow() -> Any:
        seen: list[str] = []
        asyncio.get_running_loop().call_soon(seen.append, "other")
        await wait_condition(lambda: True, timeout=5)
        return list(seen)

    run = start(workflow)

    assert run.result == []
    assert run.short == ["complete"]


def test_waits_end_in_the_order_in_which_they_began(start: Start) -> None:
    async def workflow() -> Any:
        state = {"open": False}
        seen: list[int] = []

        async def wait(number: int) -> None:
            await wait_condition(lambda: state["open"])
            seen.append(number)

        tasks = [asyncio.create_task(wait(number)) for number in range(20)]
        await step("a")
        state["open"] = True
        await asyncio.gather(*tasks)
        return seen

    run = start(workflow)
    run.complete("a")

    assert run.result == [*range(20)]


def test_it_is_still_true_when_the_waiter_goes_on(start: Start) -> None:
    async def workflow() -> Any:
        stock: list[int] = []
        taken: list[list[int]] = []

        async def take(number: int) -> None:
            await wait_condition(lambda: bool(stock))
            taken.append([number, stock.pop()])

        tasks = [asyncio.create_task(take(number)) for number in range(3)]
        for delivery in range(3):
            stock.append(await step("deliver", delivery))
        await asyncio.gather(*tasks)
        return taken

    run = start(workflow)
    for delivery in "xyz":
        run.complete("deliver", delivery)

    assert run.result == [[0, "x"], [1, "y"], [2, "z"]]


def test_one_that_comes_true_by_another_is_seen(start: Start) -> None:
    async def workflow() -> Any:
        state = [0]

        async def raise_to(level: int) -> None:
            await wait_condition(lambda: state[0] == level - 1)
            state[0] = level

        # Each is looked at before the one that it waits for.
        tasks = [asyncio.create_task(raise_to(level)) for level in (4, 3, 2)]
        await step("a")
        state[0] = 1
        await asyncio.gather(*tasks)
        return state

    run = start(workflow)
    run.complete("a")

    assert run.result == [4]


def test_wait_ends_with_its_timeout(start: Start) -> None:
    async def workflow() -> Any:
        seen = []
        for timeout in (60, timedelta(minutes=2)):
            try:
                await wait_condition(lambda: False, timeout)
            except TimeoutError as error:
                seen.append(str(error))
        return seen

    run = start(workflow)
    run.fire()
    run.fire()

    assert run.result == [
        "the condition did not come true within 60 seconds",
        "the condition did not come true within 120 seconds",
    ]
    assert run.short == ["timer 1 condition", "timer 2 condition", "complete"]


def test_timer_is_taken_back_when_it_comes_true(start: Start) -> None:
    async def workflow() -> Any:
        state: list[int] = []
        task = asyncio.create_task(step("a"))
        task.add_done_callback(lambda _: state.append(1))
        await wait_condition(lambda: len(state) > 0, timeout=60)

    run = start(workflow)
    run.complete("a")

    assert run.short == ["timer 1 condition", "task 2 a", "cancel 1", "complete"]


def test_timeout_of_nothing_only_looks(start: Start) -> None:
    async def workflow() -> Any:
        with pytest.raises(TimeoutError):
            await wait_condition(lambda: False, timeout=0)

    run = start(workflow)
    run.fire()

    assert run.short == ["timer 1 condition", "complete"]


def test_error_of_the_condition_is_raised_at_the_wait(start: Start) -> None:
    async def workflow() -> Any:
        state: dict[str, int] = {"a": 0}
        seen = []
        try:
            await wait_condition(lambda: state["missing"])
        except KeyError as error:
            seen.append(str(error))
        task = asyncio.create_task(step("a"))
        task.add_done_callback(lambda _: state.pop("a"))
        try:
            await wait_condition(lambda: state["a"])
        except KeyError as error:
            seen.append(str(error))
        return seen

    run = start(workflow)
    run.complete("a")

    assert run.result == ["'missing'", "'a'"]


def test_stop_iteration_of_a_condition_is_told_as_what_it_is(start: Start) -> None:
    async def workflow() -> Any:
        numbers = iter([0, 0])
        task = asyncio.create_task(step("a"))
        try:
            await wait_condition(lambda: next(numbers))
        except RuntimeError as error:
            return [str(error), type(error.__cause__).__name__, task.done()]

    run = start(workflow)
    run.complete("a")

    assert run.result == ["a condition raised StopIteration", "StopIteration", True]


def test_memory_error_of_a_condition_abandons_the_drain() -> None:
    async def workflow() -> Any:
        task = asyncio.create_task(step("a"))
        await wait_condition(lambda: look(task))

    def look(task: asyncio.Task[Any]) -> bool:
        if task.done() and troubled:
            raise MemoryError
        return task.done()

    troubled = [True]
    run = Run(workflow)
    with pytest.raises(MemoryError):
        run.complete("a")

    troubled.clear()
    run.crash()
    run._apply("task_completed", 1, payload="null")
    assert run.result is None


async def coroutine_function() -> bool:
    return True


@pytest.mark.parametrize("wrong", [coroutine_function, lambda: coroutine_function(), 7])
def test_only_plain_functions_are_looked_at(start: Start, wrong: Any) -> None:
    async def workflow() -> Any:
        with pytest.raises(TypeError, match="plain function"):
            await wait_condition(wrong)
        with pytest.raises(TypeError, match="timeout of wait_condition"):
            await wait_condition(lambda: False, "5")  # type: ignore[arg-type]

    assert start(workflow).short == ["complete"]


def test_condition_alone_is_a_deadlock() -> None:
    async def workflow() -> Any:
        await step("a")
        await wait_condition(lambda: False)

    run = Run(workflow)
    assert run.instance.blocked is None
    run.complete("a")

    assert run.instance.blocked is not None
    assert "deadlock" in run.instance.blocked
    line = workflow.__code__.co_firstlineno + 2
    assert f"Task-1 at test_conditions.py:{line}" in run.instance.blocked
    assert run.instance.waiting_for() == f"condition (test_conditions.py:{line})"
    run.cancel()
    assert run.error["type"] == "Cancelled"


def test_condition_that_a_signal_can_bring_about_is_none() -> None:
    async def workflow() -> Any:
        seen: list[Any] = []

        async def listen() -> None:
            seen.append(await wait_for_signal("approved"))

        task = asyncio.create_task(listen())
        await wait_condition(lambda: len(seen) > 0)
        return [seen, task.done()]

    run = Run(workflow)
    assert run.instance.blocked is None
    run.signal("approved", "yes")

    assert run.result == [["yes"], True]


def test_waiter_that_is_cancelled_is_looked_at_no_more(start: Start) -> None:
    async def workflow() -> Any:
        looked: list[str] = []
        task = asyncio.create_task(wait_condition(lambda: looked.append("x")))
        await asyncio.sleep(0)
        await step("a")
        task.cancel()
        await step("b")
        before = len(looked)
        await step("c")
        return [before > 0, len(looked) - before]

    run = start(workflow)
    for name in "abc":
        run.complete(name)

    assert run.result == [True, 0]


def test_cancelled_workflow_waits_no_longer(start: Start) -> None:
    async def workflow() -> Any:
        try:
            await wait_condition(lambda: False, timeout=60)
        finally:
            await child("clean up")

    run = start(workflow)
    run.cancel()
    run.complete("clean up")

    assert run.short == ["timer 1 condition", "cancel 1", "child 2 clean up", "cancelled"]


def test_condition_has_the_context_of_its_wait(start: Start) -> None:
    async def workflow() -> Any:
        async def wait(name: str) -> str:
            variable.set(name)
            await wait_condition(lambda: variable.get() in opened)
            return variable.get()

        waits = [asyncio.create_task(wait(name)) for name in "ab"]
        await step("a")
        opened.append("b")
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        return [wait.done() for wait in waits]

    variable: contextvars.ContextVar[str] = contextvars.ContextVar("name")
    opened: list[str] = []
    run = Run(workflow)
    run.complete("a")

    assert run.result == [False, True]


def test_looking_happens_as_often_in_a_replay(start: Start) -> None:
    async def workflow() -> Any:
        looks: list[float] = []
        task = asyncio.create_task(wait_condition(lambda: looks.append(random().random())))
        for name in "abc":
            await step(name)
        task.cancel()
        return [len(looks), random().random()]

    run = start(workflow)
    for name in "abc":
        run.complete(name)

    assert run.result[0] > 2


def test_thousands_of_conditions_at_once() -> None:
    async def workflow() -> Any:
        state: list[int] = []
        waits = [asyncio.create_task(wait_condition(lambda: len(state) > 0)) for _ in range(5000)]
        await step("a")
        state.append(1)
        await asyncio.gather(*waits)
        return len(waits)

    run = Run(workflow)
    run.complete("a")

    assert run.result == 5000

"""Workflows called as ordinary functions: as in a run that has just begun, without a worker."""

import asyncio
import contextvars
import traceback
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from currant import (
    ChildFailed,
    NotInWorkflow,
    SideEffectFailed,
    TaskFailed,
    continue_as_new,
    get_version,
    heartbeat,
    info,
    now,
    side_effect,
    task,
    task_info,
    uuid4,
    wait_condition,
    wait_for_signal,
    workflow,
)
from currant.definitions import registry
from currant.errors import InvalidArgument


@pytest.fixture(autouse=True)
def _own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_functions", {})


@task(name="inline.double")
def double(x: int) -> int:
    if x < 0:
        raise ValueError("negative")
    return 2 * x


@task(name="inline.adouble")
async def adouble(x: int) -> int:
    return 2 * x


@workflow(name="inline.sum_up")
async def sum_up(x: int) -> int:
    parts = await asyncio.gather(double.run(x), adouble.options(queue="q").run(x))
    return sum(parts) + get_version("change", 1, 3)


async def test_a_workflow_called_directly_runs_its_tasks_in_place() -> None:
    assert await sum_up(5) == 23


async def test_in_a_workflow_called_directly_errors_look_as_in_a_real_one() -> None:
    with pytest.raises(TaskFailed, match=r"inline\.double failed: ValueError: negative") as caught:
        await sum_up(-1)

    assert caught.value.type == "ValueError"
    assert "raise ValueError" in (caught.value.traceback or "")


async def test_a_workflow_called_directly_knows_the_time_but_gets_no_signals() -> None:
    @workflow
    async def flow() -> datetime:
        with pytest.raises(NotInWorkflow):
            await wait_for_signal("go")
        return now()

    assert (await flow()).tzinfo is UTC


def test_outside_of_a_workflow_its_functions_say_so() -> None:
    with pytest.raises(NotInWorkflow):
        get_version("change", 1, 2)
    with pytest.raises(NotInWorkflow):
        now()

    with pytest.raises(NotInWorkflow, match=r"info\(\) works only inside a workflow"):
        info()
    with pytest.raises(NotInWorkflow):
        side_effect(lambda: 1)
    with pytest.raises(NotInWorkflow, match=r"continue_as_new\(\) works only inside"):
        continue_as_new(1)


async def test_outside_of_a_workflow_no_condition_is_waited_for() -> None:
    with pytest.raises(NotInWorkflow):
        await wait_condition(lambda: True)


def test_a_workflow_may_be_called_before_there_is_a_loop() -> None:
    coroutine = sum_up(5)

    assert asyncio.run(coroutine) == 23


# --- Children


@workflow(name="inline.child")
async def child(x: int) -> datetime:
    if x < 0:
        raise LookupError("no such child")
    await double.run(x)
    return datetime(2026, 1, x, tzinfo=UTC)


async def test_children_run_in_place_with_values_as_if_they_had_travelled() -> None:
    @workflow
    async def parent() -> list[datetime]:
        return await asyncio.gather(*(child.options(key=f"c{n}").run(n) for n in (1, 2)))

    assert await parent() == [datetime(2026, 1, n, tzinfo=UTC) for n in (1, 2)]


async def test_a_failure_in_a_child_looks_as_in_a_real_one() -> None:
    @workflow(name="inline.middle")
    async def middle() -> None:
        await double.run(-1)

    @workflow
    async def parent() -> None:
        await middle.run()

    with pytest.raises(ChildFailed, match=r"inline\.middle failed: ValueError: negative") as caught:
        await parent()

    assert isinstance(caught.value.cause, TaskFailed)
    assert caught.value.cause.function == "inline.double"
    printed = "".join(traceback.format_exception(caught.value))
    assert printed.count('raise ValueError("negative")') == 1


async def test_what_a_child_returns_has_to_be_sent_as_from_a_worker() -> None:
    @workflow(name="inline.secretive")
    async def secretive() -> object:
        return object()

    @workflow
    async def parent() -> None:
        await secretive.run()

    with pytest.raises(ChildFailed, match=r"inline\.secretive failed: EncodingError"):
        await parent()


async def test_a_workflow_that_another_calls_is_a_part_of_it() -> None:
    @workflow(name="inline.part")
    async def part() -> str:
        return info().function

    @workflow(name="inline.whole")
    async def whole() -> str:
        return await part()

    assert await whole() == "inline.whole"


# --- Side effects, conditions, information


async def test_a_side_effect_comes_back_as_its_annotation_says() -> None:
    def moment() -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC)

    @workflow
    async def flow() -> list[Any]:
        return [side_effect(moment) == moment(), side_effect(lambda: moment())]

    assert await flow() == [True, "2026-01-01T00:00:00Z"]


async def test_a_side_effect_that_raises_does_it_as_in_a_real_run() -> None:
    def broken() -> None:
        raise OSError("no entropy")

    @workflow
    async def flow() -> None:
        side_effect(broken)

    with pytest.raises(SideEffectFailed, match=r"broken failed: OSError: no entropy") as caught:
        await flow()
    assert "raise OSError" in (caught.value.traceback or "")


async def test_nothing_of_the_workflow_works_in_a_side_effect() -> None:
    @workflow
    async def flow() -> str:
        with pytest.raises(SideEffectFailed) as caught:
            side_effect(lambda: str(uuid4()))
        return caught.value.type

    assert await flow() == "NotInWorkflow"


@pytest.mark.parametrize("wrong", [3, double.run])
async def test_a_side_effect_is_a_plain_function(wrong: Any) -> None:
    async def later() -> None: ...

    @workflow
    async def flow() -> None:
        with pytest.raises(TypeError, match=r"side_effect\(\) takes"):
            side_effect(later if wrong != 3 else wrong)

    await flow()


async def test_a_condition_is_waited_for() -> None:
    @workflow
    async def flow() -> list[int]:
        found: list[int] = []

        async def work() -> None:
            for n in range(3):
                await asyncio.sleep(0)
                found.append(n)

        async with asyncio.TaskGroup() as group:
            group.create_task(work())
            await wait_condition(lambda: len(found) == 3, timeout=10)
        return found

    assert await flow() == [0, 1, 2]


async def test_a_condition_that_does_not_come_true_times_out() -> None:
    @workflow
    async def flow() -> None:
        await wait_condition(lambda: False, timeout=0.01)

    with pytest.raises(TimeoutError):
        await flow()


async def test_a_condition_is_a_plain_function_and_its_errors_are_raised() -> None:
    async def later() -> bool:
        return True

    @workflow
    async def flow() -> None:
        for wrong in (3, later):
            with pytest.raises(TypeError, match="plain function"):
                await wait_condition(wrong)  # type: ignore[arg-type]
        await wait_condition(lambda: 1 / 0 > 1)

    with pytest.raises(ZeroDivisionError):
        await flow()


async def test_a_workflow_knows_about_itself() -> None:
    @workflow(name="inline.aware", queue="q", version=7)
    async def aware() -> list[Any]:
        first, second = info(), info()
        assert first == second
        return [UUID(first.id).version, first.function, first.queue, first.version, first.root_id]

    found = await aware()

    assert found[1:4] == ["inline.aware", "q", 7]
    assert found[0] == 4


@pytest.mark.parametrize(
    "asked", [info, now, lambda: continue_as_new(1), lambda: side_effect(dict)]
)
@pytest.mark.parametrize("is_async", [True, False])
async def test_tasks_are_no_part_of_the_workflow(asked: Any, is_async: bool) -> None:
    @task(name="inline.asks")
    def asks() -> None:
        asked()

    @task(name="inline.asks_too")
    async def asks_too() -> None:
        asked()

    @workflow
    async def flow() -> None:
        await (asks_too.run() if is_async else asks.run())

    with pytest.raises(TaskFailed, match="NotInWorkflow"):
        await flow()


async def test_a_task_knows_about_itself_and_runs_others_in_place() -> None:
    @task(name="inline.knows")
    async def knows() -> list[Any]:
        heartbeat(3)
        return [task_info().function, task_info().attempt, await double.run(2)]

    @task(name="inline.knows_too")
    def knows_too() -> str:
        return task_info().function

    @workflow
    async def flow() -> list[Any]:
        return [*await knows.run(), await knows_too.run()]

    assert await flow() == ["inline.knows", 1, 4, "inline.knows_too"]


@pytest.mark.parametrize("error", [asyncio.CancelledError("x"), SystemExit(3)])
async def test_whatever_a_task_raises_it_has_failed(error: BaseException) -> None:
    @task(name="inline.odd")
    async def odd() -> None:
        raise error

    @workflow
    async def flow() -> str:
        with pytest.raises(TaskFailed) as caught:
            await odd.run()
        return caught.value.type

    assert await flow() == type(error).__name__


async def test_a_workflow_that_is_cancelled_is_cancelled_in_its_task() -> None:
    begun = asyncio.Event()

    @task(name="inline.slow")
    async def slow() -> None:
        begun.set()
        await asyncio.Event().wait()

    @workflow
    async def flow() -> None:
        await slow.run()

    running = asyncio.create_task(flow())  # type: ignore[var-annotated, arg-type]
    await begun.wait()
    running.cancel()

    with pytest.raises(asyncio.CancelledError):
        await running


@pytest.mark.parametrize("wrong", ["", 3])
async def test_wrong_versions_are_refused_as_in_a_real_run(wrong: Any) -> None:
    @workflow
    async def flow() -> None:
        with pytest.raises(InvalidArgument):
            get_version(wrong, 1, 2)
        with pytest.raises(ValueError, match="min_version 2 is above 1"):
            get_version("x", 2, 1)

    await flow()


# --- Going on as new


@workflow(name="inline.count")
async def count(to: int, done: int = 0) -> list[int]:
    await double.run(done)
    if done < to:
        continue_as_new(to, done=done + 1)
    return [to, done]


async def test_a_workflow_that_continues_is_called_again_and_again() -> None:
    assert await count(2000) == [2000, 2000]


async def test_children_continue_too() -> None:
    @workflow
    async def parent() -> list[list[int]]:
        return await asyncio.gather(count.run(3), count.run(4))

    assert await parent() == [[3, 3], [4, 4]]


async def test_a_workflow_that_another_calls_continues_with_its_own_arguments() -> None:
    @workflow(name="inline.inner")
    async def inner(left: int, text: str = "") -> str:
        if left:
            continue_as_new(left - 1, text + "x")
        return text

    @workflow(name="inline.outer")
    async def outer(text: str) -> str:
        if text == "first":
            async with asyncio.TaskGroup() as group:
                parts = [group.create_task(inner(left)) for left in (1, 2)]
                await inner(5)
            assert [part.result() for part in parts] == ["x", "xx"]
            continue_as_new("again")
        return f"{text} {await inner(3)}"

    assert await outer("first") == "again xxx"


async def test_arguments_that_do_not_fit_fail_at_the_call() -> None:
    @workflow
    async def flow(left: int) -> str:
        with pytest.raises(TypeError, match="got an unexpected keyword argument 'lft'"):
            continue_as_new(1, lft=1)
        return "still here"

    assert await flow(1) == "still here"


async def test_nothing_is_left_of_a_workflow_in_its_caller() -> None:
    before = dict(contextvars.copy_context())

    await count(3)

    assert dict(contextvars.copy_context()) == before
    with pytest.raises(NotInWorkflow):
        info()

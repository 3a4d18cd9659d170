"""A run that leaves memory is closed in order, and asks for nothing more."""

import asyncio
import contextvars
import gc
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest

from currant.workflow import api, teardown
from currant.workflow.history import Event
from tests.workflow.support import START, Run, new_instance, step


def closed(workflow: Any) -> Run:
    """A run whose instance was closed while it waited for its first event."""
    run = Run(workflow)
    run.instance.close()
    return run


def test_coroutines_are_closed_in_the_order_of_their_creation() -> None:
    seen: list[str] = []

    async def child(name: str) -> None:
        try:
            await step(name)
        finally:
            seen.append(name)

    async def workflow() -> Any:
        try:
            await asyncio.gather(*(child(name) for name in "abc"))
        finally:
            seen.append("main")

    closed(workflow)

    assert seen == ["main", "a", "b", "c"]


def test_clean_up_for_a_cancellation_is_not_run() -> None:
    seen: list[str] = []

    async def workflow() -> Any:
        try:
            await step("a")
        except asyncio.CancelledError:
            seen.append("cancelled")
        except Exception:
            seen.append("failed")

    closed(workflow)

    assert seen == []


def test_commands_are_refused() -> None:
    seen: list[str] = []

    async def workflow() -> Any:
        try:
            await step("a")
        finally:
            try:
                seen.append("clean up")
                await step("b")
            finally:
                asyncio.get_running_loop().call_later(5, print)
                try:
                    await api.queue_execution("c", "{}", {})
                finally:
                    seen.append("over")

    run = closed(workflow)

    assert seen == ["clean up", "over"]
    assert run.short == ["task 1 a"]


def test_clean_up_that_fails_is_nobodys_business() -> None:
    async def workflow() -> Any:
        try:
            await step("a")
        finally:
            raise ValueError("in finally")

    closed(workflow)


def test_code_that_will_not_end_is_given_up(caplog: pytest.LogCaptureFixture) -> None:
    ends: list[bool] = []

    async def workflow() -> Any:
        while not ends:
            try:
                await step("a")
            except BaseException:
                continue

    run = closed(workflow)

    assert "goes on whatever is raised" in caplog.text
    (coroutine,) = teardown._unstoppable
    teardown._unstoppable.clear()
    ends.append(True)
    coroutine.close()
    assert run.short == ["task 1 a"]


def test_clean_up_that_awaits_is_stopped_there_and_not_further_out() -> None:
    seen: list[str] = []

    async def inner() -> None:
        try:
            await step("a")
        finally:
            seen.append("clean up")
            await nested()
            seen.append("never")

    async def nested() -> None:
        try:
            await step("b")
        finally:
            seen.append("nested")
            await asyncio.sleep(1)
            seen.append("never")

    async def workflow() -> Any:
        try:
            await inner()
        except Exception:
            seen.append("failed")
        finally:
            seen.append("main")

    closed(workflow)

    assert seen == ["clean up", "nested", "main"]


def test_async_generators_are_closed_innermost_first() -> None:
    seen: list[str] = []

    async def inner() -> AsyncIterator[Any]:
        try:
            yield await step("a")
        finally:
            seen.append("inner")
            await step("cleanup")
            seen.append("never")

    async def outer() -> AsyncIterator[Any]:
        try:
            async for item in inner():
                yield item
        finally:
            seen.append("outer")

    async def workflow() -> Any:
        try:
            async for _ in outer():
                pass
        finally:
            seen.append("main")

    closed(workflow)

    assert seen == ["inner", "outer", "main"]


def test_async_generators_that_were_left_are_closed() -> None:
    seen: list[str] = []

    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
            yield 2
        finally:
            seen.append("closed")
            await asyncio.sleep(1)
            seen.append("never")

    async def workflow() -> Any:
        generator = numbers()
        await anext(generator, None)
        async for _ in numbers():
            break
        gc.collect()
        seen.append("goes on")
        await step("a")

    run = Run(workflow)
    assert seen == ["goes on"]
    run.instance.close()

    assert seen == ["goes on", "closed", "closed"]


def test_clean_up_may_use_timeouts_and_groups() -> None:
    seen: list[str] = []

    async def workflow() -> Any:
        try:
            await step("a")
        finally:
            try:
                async with asyncio.timeout(1), asyncio.TaskGroup() as group:
                    group.create_task(step("b"))
            except Exception as error:
                seen.append(repr(error))
            finally:
                seen.append("over")

    closed(workflow)

    assert seen == ["over"]


def test_tasks_created_in_the_clean_up_never_begin() -> None:
    seen: list[str] = []

    async def late() -> None:
        seen.append("late")

    async def workflow() -> Any:
        try:
            await step("a")
        finally:
            asyncio.create_task(late())  # noqa: RUF006

    closed(workflow)

    assert seen == []


def test_nothing_is_left_to_the_garbage_collector() -> None:
    seen: list[str] = []

    async def child() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            seen.append("child")

    async def workflow() -> Any:
        tasks = [asyncio.create_task(child()) for _ in range(3)]
        await asyncio.wait(tasks)

    gc.collect()
    run = closed(workflow)
    assert seen == ["child"] * 3
    del run
    gc.collect()

    assert seen == ["child"] * 3


def test_run_that_was_forgotten_is_closed_by_itself() -> None:
    seen: list[Any] = []

    async def workflow() -> Any:
        try:
            await step("a")
        finally:
            seen.append(api.current() is other.instance)
            await step("b")
            seen.append("never")

    async def other_workflow() -> Any:
        await step("a")
        gc.collect()
        await step("b")

    other = Run(other_workflow)
    new_instance(workflow).apply(Event(1, "started", START))
    with pytest.warns(ResourceWarning, match="was not closed"):
        other.complete("a")

    assert seen == [False]
    assert other.short == ["task 1 a", "task 2 b"]


def test_closing_is_silent_and_may_be_repeated(caplog: pytest.LogCaptureFixture) -> None:
    async def child() -> None:
        try:
            await step("b")
        finally:
            raise ValueError("nobody sees this")

    async def workflow() -> Any:
        await asyncio.gather(step("a"), child())

    with caplog.at_level(logging.DEBUG):
        run = closed(workflow)
        run.instance.close()
        gc.collect()

    assert caplog.records == []


def test_closed_run_takes_no_more_events() -> None:
    async def workflow() -> Any:
        await step("a")

    run = closed(workflow)

    with pytest.raises(RuntimeError, match="takes no more events"):
        run.complete("a")


def test_each_task_is_closed_in_its_own_context() -> None:
    name: contextvars.ContextVar[str] = contextvars.ContextVar("name", default="none")
    seen: list[str] = []

    async def child(own: str) -> None:
        token = name.set(own)
        try:
            await step(own)
        finally:
            seen.append(name.get())
            name.reset(token)
            seen.append(name.get())

    async def workflow() -> Any:
        name.set("main")
        async with asyncio.TaskGroup() as group:
            group.create_task(child("a"))
            group.create_task(child("b"), context=contextvars.Context())

    closed(workflow)

    assert seen == ["a", "main", "b", "none"]


def test_places_are_told_of_tasks_without_code_of_the_user() -> None:
    async def workflow() -> Any:
        await asyncio.gather(step("a"), asyncio.Event().wait())

    run = Run(workflow)

    main, one, other = teardown.whereabouts(run.instance.loop.tasks).split(", Task-")
    assert main.startswith("Task-1 at test_teardown.py:")
    assert one.startswith("2 (a.run, begun at test_teardown.py:")
    assert other.startswith("3 (Event.wait, begun at test_teardown.py:")

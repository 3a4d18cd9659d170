"""What asyncio offers works in a workflow, live and replayed alike."""

import asyncio
import contextvars
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from currant.errors import NotAllowedInWorkflow
from currant.workflow.api import now
from tests.workflow.conftest import Start
from tests.workflow.support import step


def test_gather_issues_in_order_and_returns_in_order(start: Start) -> None:
    async def workflow() -> Any:
        return await asyncio.gather(*(step("step", i) for i in range(4)))

    run = start(workflow)
    for number in (3, 1, 4, 2):
        run.complete(number, number * 10)

    assert run.result == [10, 20, 30, 40]
    assert run.short[:4] == [f"task {n} step" for n in (1, 2, 3, 4)]


def test_gather_hands_over_the_first_failure(start: Start) -> None:
    async def workflow() -> Any:
        try:
            await asyncio.gather(step("a"), step("b"))
        except Exception as error:
            return str(error)

    run = start(workflow)
    run.fail("b", "ValueError", "too bad")

    assert "ValueError: too bad" in run.result


def test_gather_can_return_exceptions(start: Start) -> None:
    async def workflow() -> Any:
        results = await asyncio.gather(step("a"), step("b"), return_exceptions=True)
        return [type(result).__name__ for result in results]

    run = start(workflow)
    run.fail("a")
    run.complete("b", "fine")

    assert run.result == ["TaskFailed", "str"]


def test_futures_of_gather_can_be_waited_for_in_a_set(start: Start) -> None:
    async def workflow() -> Any:
        groups = [asyncio.gather(step(f"{name}1"), step(f"{name}2")) for name in "abcdef"]
        await asyncio.wait(groups)
        for group in set(groups):
            await step("seen", await group)

    run = start(workflow)
    for name in "fedcba":
        run.complete(f"{name}1", name)
        run.complete(f"{name}2", name)
    for _ in range(6):
        run.complete("seen")

    assert run.result is None


@pytest.mark.parametrize("kind", [asyncio.Future, asyncio.Task])
def test_futures_the_loop_did_not_make_are_refused(start: Start, kind: Any) -> None:
    # They are hashed by their address, so `asyncio.wait` would give them in another order.
    async def workflow() -> Any:
        coroutine = asyncio.sleep(1)
        try:
            kind(*[coroutine][: kind is asyncio.Task])
        except NotAllowedInWorkflow as error:
            return str(error)
        finally:
            coroutine.close()

    assert "create_future()" in start(workflow).result


def test_futures_the_loop_made_keep_their_order_in_sets(start: Start) -> None:
    async def workflow() -> Any:
        loop = asyncio.get_running_loop()
        futures = [loop.create_future() for _ in range(20)]
        for place, future in enumerate(futures):
            loop.call_soon(future.set_result, place)
        done, _ = await asyncio.wait(futures)
        for future in done:
            await step("seen", future.result())
        return [future.result() for future in {*futures}]

    run = start(workflow)
    for _ in range(20):
        run.complete("seen")

    assert sorted(run.result) == list(range(20))


def test_code_may_ask_whether_the_loop_debugs(start: Start) -> None:
    async def workflow() -> Any:
        return asyncio.get_running_loop().get_debug()

    assert start(workflow).result is False


def test_wait_gives_the_first_that_is_done(start: Start) -> None:
    async def workflow() -> Any:
        tasks = [asyncio.create_task(step("step", i)) for i in range(5)]
        done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        await asyncio.wait(pending)
        return [task.result() for task in done]

    run = start(workflow)
    run.complete(3, "third")

    assert run.result == ["third"]
    assert sorted(run.short[5:-1]) == ["cancel 1", "cancel 2", "cancel 4", "cancel 5"]


def test_sets_of_tasks_are_iterated_in_the_same_order(start: Start) -> None:
    async def workflow() -> Any:
        tasks = {asyncio.create_task(asyncio.sleep(1), name=str(i)) for i in range(50)}
        futures = {asyncio.get_running_loop().create_future() for _ in range(50)}
        for task in tasks:
            await step(task.get_name())
        for future in futures:
            await step(str(future.serial))  # type: ignore[attr-defined]
        for task in asyncio.all_tasks():
            await step(task.get_name())

    run = start(workflow)
    while run.end is None:
        run.complete(next(n for n, c in run.open.items() if c.kind == "task"))

    assert run.result is None


def test_task_group_waits_for_its_tasks(start: Start) -> None:
    async def workflow() -> Any:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(step(name)) for name in "abc"]
        return [task.result() for task in tasks]

    run = start(workflow)
    for name in "cab":
        run.complete(name, name.upper())

    assert run.result == ["A", "B", "C"]


def test_task_group_cancels_the_others_when_one_fails(start: Start) -> None:
    async def workflow() -> Any:
        try:
            async with asyncio.TaskGroup() as group:
                for name in "abcd":
                    group.create_task(step(name))
        except* Exception as failures:
            names = [getattr(failure, "function", None) for failure in failures.exceptions]
        return names

    run = start(workflow)
    run.fail("c")

    assert run.result == ["c"]
    assert sorted(run.short[4:-1]) == ["cancel 1", "cancel 2", "cancel 4"]


def test_timeout_cancels_what_it_encloses(start: Start) -> None:
    async def workflow() -> Any:
        try:
            async with asyncio.timeout(10):
                await step("slow")
        except TimeoutError:
            return "timed out"

    run = start(workflow)
    run.fire()

    assert run.result == "timed out"
    assert run.short == ["timer 1", "task 2 slow", "cancel 2", "complete"]


def test_timeout_that_is_not_needed_takes_its_timer_back(start: Start) -> None:
    async def workflow() -> Any:
        async with asyncio.timeout(10):
            await step("quick")

    run = start(workflow)
    run.complete("quick")

    assert run.short == ["timer 1", "task 2 quick", "cancel 1", "complete"]


def test_timeout_around_nothing_leaves_no_trace(start: Start) -> None:
    async def workflow() -> Any:
        async with asyncio.timeout(10):
            await asyncio.sleep(0)
        await step("after")

    run = start(workflow)
    run.complete("after")

    assert run.short == ["task 1 after", "complete"]


def test_timeout_can_be_rescheduled(start: Start) -> None:
    async def workflow() -> Any:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(10) as limit:
                await step("first")
                limit.reschedule(loop.time() + 60)
                await step("second")
        except TimeoutError:
            return "timed out"

    run = start(workflow)
    run.complete("first")
    run.fire()

    assert run.result == "timed out"
    assert run.short == [
        "timer 1", "task 2 first", "cancel 1", "timer 3", "task 4 second", "cancel 4", "complete",
    ]  # fmt: skip


def test_wait_for_gives_the_result_in_time(start: Start) -> None:
    async def workflow() -> Any:
        return await asyncio.wait_for(step("quick"), 10)

    run = start(workflow)
    run.complete("quick", 1)

    assert run.result == 1
    assert run.short == ["timer 1", "task 2 quick", "cancel 1", "complete"]


def test_wait_for_cancels_what_is_late(start: Start) -> None:
    async def workflow() -> Any:
        try:
            await asyncio.wait_for(step("slow"), timeout=10)
        except TimeoutError:
            return "timed out"

    run = start(workflow)
    run.fire()

    assert run.result == "timed out"
    assert run.short == ["timer 1", "task 2 slow", "cancel 2", "complete"]


def test_wait_for_nothing_at_all_starts_nothing(start: Start) -> None:
    async def workflow() -> Any:
        try:
            await asyncio.wait_for(step("never"), 0)
        except TimeoutError:
            return "timed out"

    run = start(workflow)

    assert run.result == "timed out"
    assert run.short == ["complete"]


def test_wait_for_without_a_limit(start: Start) -> None:
    async def workflow() -> Any:
        return await asyncio.wait_for(asyncio.create_task(step("a")), None)

    run = start(workflow)
    run.complete("a", 1)

    assert run.result == 1


def test_as_completed_takes_bare_coroutines_in_the_order_given(start: Start) -> None:
    async def one(i: int) -> Any:
        return await step("step", i)

    async def workflow() -> Any:
        return [await result for result in asyncio.as_completed([one(i) for i in range(30)])]

    run = start(workflow)
    order = [n for i in range(15) for n in (30 - i, i + 1)]
    for number in order:
        run.complete(number, number)

    assert run.result == order
    assert [json.loads(command.payload or "")["args"] for command in run.commands[:30]] == [
        [i] for i in range(30)
    ]


def test_as_completed_gives_up_after_its_timeout(start: Start) -> None:
    async def workflow() -> Any:
        seen = []
        try:
            for result in asyncio.as_completed([step("a"), step("b")], timeout=5):
                seen.append(await result)
        except TimeoutError:
            return seen

    run = start(workflow)
    run.complete("b", "b")
    run.fire()

    assert run.result == ["b"]


def test_as_completed_refuses_a_single_awaitable(start: Start) -> None:
    async def workflow() -> Any:
        future = asyncio.get_running_loop().create_future()
        with pytest.raises(TypeError, match="iterable"):
            asyncio.as_completed(future)

    assert start(workflow).result is None


def test_other_loops_get_what_they_always_had(start: Start) -> None:
    async def workflow() -> None: ...

    async def elsewhere() -> Any:
        first = [await r for r in asyncio.as_completed([asyncio.sleep(0, 1)], timeout=5)]
        gathered = asyncio.gather(asyncio.sleep(0, 3))
        await asyncio.wait({gathered})
        names = [task.get_name() for task in asyncio.all_tasks()]
        return [*first, await asyncio.wait_for(asyncio.sleep(0, 2), 5), *gathered.result(), *names]

    start(workflow)

    assert asyncio.run(elsewhere())[:3] == [1, 2, 3]


def test_shield_keeps_a_task_from_being_cancelled(start: Start) -> None:
    async def workflow() -> Any:
        kept = asyncio.create_task(step("kept"))
        try:
            async with asyncio.timeout(1):
                await asyncio.shield(kept)
        except TimeoutError:
            return await kept

    run = start(workflow)
    run.fire()
    run.complete("kept", "kept")

    assert run.result == "kept"
    assert not any("cancel" in command for command in run.short)


def test_queue_hands_over_in_order(start: Start) -> None:
    async def worker(queue: asyncio.Queue[int], results: list[Any]) -> None:
        while True:
            item = await queue.get()
            results.append(await step("work", item))
            queue.task_done()

    async def workflow() -> Any:
        queue: asyncio.Queue[int] = asyncio.Queue(maxsize=2)
        results: list[Any] = []
        workers = [asyncio.create_task(worker(queue, results)) for _ in range(2)]
        for item in range(4):
            await queue.put(item)
        await queue.join()
        for task in workers:
            task.cancel()
        return results

    run = start(workflow)
    for number in (2, 1, 3, 4):
        run.complete(number, number)

    assert run.result == [2, 1, 3, 4]


def test_lock_is_given_on_in_order(start: Start) -> None:
    async def workflow() -> Any:
        lock, seen = asyncio.Lock(), []

        async def locked(name: str) -> None:
            async with lock:
                seen.append(await step(name))

        await asyncio.gather(*(locked(name) for name in "abc"))
        return seen

    run = start(workflow)
    for name in "abc":
        assert [command.name for command in run.open.values()] == [name]
        run.complete(name, name)

    assert run.result == ["a", "b", "c"]


def test_semaphore_lets_so_many_in(start: Start) -> None:
    async def workflow() -> Any:
        limit = asyncio.Semaphore(2)

        async def limited(name: str) -> Any:
            async with limit:
                return await step(name)

        return await asyncio.gather(*(limited(name) for name in "abcd"))

    run = start(workflow)
    for name in "bacd":
        assert len(run.open) <= 2
        run.complete(name, name)

    assert run.result == ["a", "b", "c", "d"]


def test_event_wakes_all_who_wait(start: Start) -> None:
    async def workflow() -> Any:
        event, seen = asyncio.Event(), []

        async def waiting(name: str) -> None:
            await event.wait()
            seen.append(name)

        async with asyncio.TaskGroup() as group:
            for name in "abc":
                group.create_task(waiting(name))
            await step("go")
            event.set()
        return seen

    run = start(workflow)
    run.complete("go")

    assert run.result == ["a", "b", "c"]


def test_condition_is_checked_again_when_notified(start: Start) -> None:
    async def workflow() -> Any:
        condition, stock = asyncio.Condition(), 0

        async def buyer() -> int:
            async with condition:
                await condition.wait_for(lambda: stock >= 2)
                return stock

        buying = asyncio.create_task(buyer())
        for _ in range(2):
            stock += await step("deliver")
            async with condition:
                condition.notify_all()
        return await buying

    run = start(workflow)
    run.complete("deliver", 1)
    run.complete("deliver", 1)

    assert run.result == 2


def test_barrier_lets_all_go_at_once(start: Start) -> None:
    async def workflow() -> Any:
        barrier, seen = asyncio.Barrier(3), []

        async def party(name: str) -> None:
            await step(name)
            await barrier.wait()
            seen.append(name)

        await asyncio.gather(*(party(name) for name in "abc"))
        return seen

    run = start(workflow)
    for name in "cab":
        run.complete(name)

    assert sorted(run.result) == ["a", "b", "c"]


def test_async_generators_can_be_left_early(start: Start) -> None:
    async def numbers() -> AsyncIterator[Any]:
        for i in range(100):
            yield await step("next", i)

    async def workflow() -> Any:
        total = 0
        async for number in numbers():
            total += number
            if total > 3:
                break
        return total

    run = start(workflow)
    for _ in range(4):
        run.complete("next", 1)

    assert run.result == 4


def test_async_generators_that_ran_out_are_let_go(start: Start) -> None:
    async def one() -> AsyncIterator[int]:
        yield 1

    async def workflow() -> Any:
        total = 0
        for _ in range(300):
            async for number in one():
                total += number
        return total

    run = start(workflow)

    assert run.result == 300
    assert len(run.instance.loop.take_generators()) < 100


def test_context_variables_start_empty_and_stay_in_their_task(start: Start) -> None:
    outside: contextvars.ContextVar[str] = contextvars.ContextVar("outside", default="nothing")
    outside.set("from the worker")

    async def child() -> str:
        before = outside.get()
        outside.set("child")
        await step("inside")
        return f"{before} > {outside.get()}"

    async def workflow() -> Any:
        before = outside.get()
        outside.set("main")
        return [before, await asyncio.create_task(child()), outside.get()]

    run = start(workflow)
    run.complete("inside")

    assert run.result == ["nothing", "main > child", "main"]


def test_tasks_are_named_by_their_own_count(start: Start) -> None:
    async def workflow() -> Any:
        tasks = [asyncio.create_task(asyncio.sleep(0)) for _ in range(2)]
        named = asyncio.create_task(asyncio.sleep(0), name="mine")
        await asyncio.wait([*tasks, named])
        current = asyncio.current_task()
        assert current is not None
        return [current.get_name(), *(task.get_name() for task in tasks), named.get_name()]

    assert start(workflow).result == ["Task-1", "Task-2", "Task-3", "mine"]


def test_time_is_that_of_the_event(start: Start) -> None:
    async def workflow() -> Any:
        loop = asyncio.get_running_loop()
        began, at = loop.time(), now()
        await step("long")
        return [loop.time() - began, (now() - at).total_seconds(), at.isoformat()]

    run = start(workflow)
    run.pass_time(3600)
    run.complete("long")

    assert run.result == [3600, 3600, "2026-11-01T12:00:00+00:00"]

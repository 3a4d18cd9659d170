"""Code that does not give way can be seen and stopped from another thread."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

import pytest

from currant.errors import WorkflowDeadlock
from currant.workflow import api
from currant.workflow.history import Event, started_payload
from tests.workflow.support import RUN_ID, START, Run, new_instance, step


def stop(workflow: Callable[..., Any], begun: threading.Event) -> tuple[str, WorkflowDeadlock]:
    """Run the workflow in a thread, and stop it once it has begun; gives where it was."""
    instance = new_instance(workflow)
    with ThreadPoolExecutor(1) as pool:
        event = Event(1, "started", START, payload=started_payload(1))
        running = pool.submit(instance.apply, event)
        assert begun.wait(10)
        stack = instance.stack()
        assert instance.running_for() > 0
        while not running.done():
            instance.interrupt()
            wait([running], timeout=0.01)
        with pytest.raises(WorkflowDeadlock) as caught:
            running.result()
        # The thread is as good as before.
        assert pool.submit(sum, [1, 2]).result() == 3
    assert not instance.interrupt()
    assert instance.running_for() == 0
    assert instance.stack() == ""
    instance.close()
    return stack, caught.value


def test_busy_loop() -> None:
    begun = threading.Event()

    async def workflow() -> None:
        begun.set()
        while True:
            pass

    stack, error = stop(workflow, begun)

    assert "test_watch.py" in stack
    assert "in workflow" in stack
    assert "currant/workflow" not in stack
    assert f"workflow workflow {RUN_ID} did not give way" in str(error)
    assert "in workflow" in str(error)


def test_busy_loop_that_gives_way_to_itself() -> None:
    begun = threading.Event()

    async def workflow() -> None:
        begun.set()
        while True:  # noqa: ASYNC110
            await asyncio.sleep(0)

    stack, error = stop(workflow, begun)

    assert "in workflow" in stack
    assert "currant/workflow" not in stack
    assert "in workflow" in str(error)


def test_tasks_that_only_wake_each_other_are_all_shown() -> None:
    begun = threading.Event()

    async def player(mine: asyncio.Event, other: asyncio.Event) -> None:
        while True:
            await mine.wait()
            mine.clear()
            other.set()

    async def workflow() -> None:
        ping, pong = asyncio.Event(), asyncio.Event()
        ping.set()
        begun.set()
        await asyncio.gather(player(ping, pong), player(pong, ping))

    _, error = stop(workflow, begun)

    assert "in player" in str(error)


def test_conditions_that_never_come_to_rest_are_stopped() -> None:
    begun = threading.Event()
    state = [0]

    async def flip(to: int) -> None:
        while True:
            await api.wait_condition(lambda: state[0] != to)
            await asyncio.sleep(0)
            state[0] = to
            begun.set()

    async def workflow() -> None:
        await asyncio.gather(flip(1), flip(2))

    stop(workflow, begun)


def test_side_effect_that_blocks_is_stopped() -> None:
    begun = threading.Event()

    def block() -> None:
        begun.set()
        while True:
            pass

    async def workflow() -> None:
        api.side_effect(block)

    stack, _ = stop(workflow, begun)

    assert "in block" in stack
    assert "in workflow" in stack


def test_code_that_catches_everything_is_stopped_again() -> None:
    begun = threading.Event()

    async def workflow() -> None:
        tries = 0
        while tries < 3:
            try:
                begun.set()
                while True:
                    pass
            except BaseException:
                tries += 1
        await step("never asked for")

    stop(workflow, begun)


def test_busy_background_task() -> None:
    begun = threading.Event()

    async def busy() -> None:
        begun.set()
        while True:
            pass

    async def workflow() -> None:
        await asyncio.gather(busy(), return_exceptions=True)

    stop(workflow, begun)


def test_busy_clean_up(caplog: pytest.LogCaptureFixture) -> None:
    begun = threading.Event()

    async def workflow() -> None:
        try:
            await step("a")
        finally:
            begun.set()
            while True:
                pass

    run = Run(workflow)
    with ThreadPoolExecutor(1) as pool:
        closing = pool.submit(run.instance.close)
        assert begun.wait(10)
        while not closing.done():
            run.instance.interrupt()
            wait([closing], timeout=0.01)
        closing.result()

    assert "while it was to clean up" in caplog.text


def test_stopped_run_can_be_tried_again() -> None:
    begun = threading.Event()
    busy = [True]

    async def workflow() -> Any:
        value = await step("a")
        begun.set()
        while busy:
            pass
        return value

    run = Run(workflow)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(run.complete, "a", 1)
        assert begun.wait(10)
        run.instance.interrupt()
        with pytest.raises(WorkflowDeadlock):
            running.result()

    busy.clear()
    run.crash()
    run._apply("task_completed", 1, payload="1")
    assert run.result == 1


def test_instance_may_move_between_threads() -> None:
    async def workflow() -> Any:
        results = [await step("a", i) for i in range(20)]
        task = asyncio.current_task()
        assert task is not None
        return [sum(results), task.get_name()]

    run = Run(workflow)
    for number in range(1, 21):
        with ThreadPoolExecutor(1) as pool:
            pool.submit(run.complete, number, 1).result()

    assert run.result == [20, "Task-1"]

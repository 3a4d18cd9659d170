"""The loop itself: timers, refusals, randomness, logging."""

import asyncio
import json
import logging
import math
import random
import threading
import time
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from currant.errors import NotAllowedInWorkflow
from currant.workflow import api
from currant.workflow.history import Event, started_payload
from currant.workflow.logs import ReplayFilter
from tests.workflow.conftest import Start
from tests.workflow.support import RUN_ID, START, Run, new_instance, step


@pytest.mark.parametrize(
    ("delay", "seconds"),
    [
        (1, "1.0"),
        (1.5, "1.5"),
        (0.1, "0.1"),
        (0.0001, "0.001"),
        (1.0004, "1.001"),
        (86400, "86400.0"),
    ],
)
def test_delays_are_rounded_up_to_the_millisecond(start: Start, delay: float, seconds: str) -> None:
    async def workflow() -> Any:
        loop = asyncio.get_running_loop()
        due = loop.time() + delay
        loop.call_at(due, print)
        await asyncio.sleep(delay)
        return loop.time() >= due

    run = start(workflow)
    run.fire(2)

    assert [command.payload for command in run.commands[:2]] == [f'{{"seconds":{seconds}}}'] * 2
    assert run.result is True


@pytest.mark.parametrize("delay", [0, -1, -math.inf])
def test_delays_that_are_over_need_no_timer(start: Start, delay: float) -> None:
    async def workflow() -> Any:
        await asyncio.sleep(delay)
        done = asyncio.Event()
        asyncio.get_running_loop().call_later(delay, done.set)
        await done.wait()

    assert start(workflow).short == ["complete"]


def test_delay_has_to_be_a_number(start: Start) -> None:
    async def workflow() -> Any:
        loop = asyncio.get_running_loop()
        with pytest.raises(ValueError, match="NaN"):
            loop.call_later(math.nan, print)
        for wrong in ("5", None, timedelta(seconds=5)):
            with pytest.raises(TypeError):
                loop.call_later(wrong, print)  # type: ignore[arg-type]

    assert start(workflow).result is None


def test_timer_cancelled_later_records_it(start: Start) -> None:
    async def workflow() -> Any:
        loop = asyncio.get_running_loop()
        timer = loop.call_later(5, print, "never")
        await step("a")
        timer.cancel()
        timer.cancel()
        return [timer.cancelled(), timer.when() - loop.time()]

    run = start(workflow)
    run.complete("a")

    assert run.result == [True, 5]
    assert run.short == ["timer 1", "task 2 a", "cancel 1", "complete"]


def test_timers_fire_in_the_order_of_the_history(start: Start) -> None:
    async def workflow() -> Any:
        seen: list[int] = []
        loop = asyncio.get_running_loop()
        for i in (3, 1, 2):
            loop.call_later(i, seen.append, i)
        await asyncio.sleep(4)
        return seen

    run = start(workflow)
    for number in (3, 1, 2, 4):
        run.fire(number)

    assert run.result == [2, 3, 1]


def test_sleep_zero_gives_way(start: Start) -> None:
    async def workflow() -> Any:
        seen = []

        async def other() -> None:
            seen.append("other")

        task = asyncio.create_task(other())
        seen.append("before")
        await asyncio.sleep(0)
        seen.append("after")
        await task
        return seen

    assert start(workflow).result == ["before", "other", "after"]


def test_clock_never_goes_back(start: Start) -> None:
    async def workflow() -> Any:
        first = api.now()
        await step("a")
        return api.now() >= first

    run = start(workflow)
    run.now -= timedelta(hours=1)
    run.complete("a")

    assert run.result is True


def test_timeout_begun_after_an_outage_has_its_whole_time(start: Start) -> None:
    async def workflow() -> Any:
        await step("a")
        began = api.now()
        async with asyncio.timeout(60):
            await step("b")
        return [began.isoformat(), asyncio.get_running_loop().time() - began.timestamp()]

    run = start(workflow)
    run.pass_time(3600)
    run.complete("a")
    run.pass_time(59)
    run.complete("b")

    assert run.result == ["2026-11-01T13:00:00+00:00", 59]
    assert run.payload(2) == {"seconds": 60.0}


def test_callbacks_that_fail_do_not_stop_the_others(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    async def workflow() -> Any:
        loop = asyncio.get_running_loop()
        loop.call_soon(lambda: 1 / 0)
        cancelled = loop.call_soon(lambda: 1 / 0)
        cancelled.cancel()
        assert cancelled.cancelled()
        assert "cancelled" in repr(cancelled)
        return await step("a")

    run = start(workflow)
    run.complete("a", 1)

    assert run.result == 1
    assert len(caplog.records) == 1


@pytest.mark.parametrize(
    "forbidden",
    [
        lambda: asyncio.to_thread(time.sleep, 0),
        lambda: asyncio.open_connection("localhost", 1),
        lambda: asyncio.start_server(print, "localhost", 1),
        lambda: asyncio.create_subprocess_exec("true"),
        lambda: asyncio.create_subprocess_shell("true"),
        lambda: asyncio.get_running_loop().getaddrinfo("localhost", 1),
        lambda: asyncio.get_running_loop().sock_recv(None, 1),  # type: ignore[arg-type]
    ],
)
def test_the_outside_world_is_for_tasks(start: Start, forbidden: Any) -> None:
    async def workflow() -> Any:
        try:
            await forbidden()
        except NotAllowedInWorkflow as error:
            return str(error)

    assert "do this in a task" in start(workflow).result


def test_threads_are_told_to_send_signals(start: Start) -> None:
    async def workflow() -> Any:
        with pytest.raises(NotAllowedInWorkflow, match="send it a signal"):
            asyncio.get_running_loop().call_soon_threadsafe(print)

    assert start(workflow).result is None


def test_the_loop_cannot_be_stopped(start: Start) -> None:
    async def workflow() -> Any:
        loop = asyncio.get_running_loop()
        assert loop.is_running()
        assert not loop.is_closed()
        assert not loop.get_debug()
        with pytest.raises(NotAllowedInWorkflow):
            loop.stop()
        coroutine = step("a")
        with pytest.raises(RuntimeError):
            asyncio.run(coroutine)
        coroutine.close()

    assert start(workflow).result is None


def test_random_numbers_and_uuids_are_repeated(start: Start) -> None:
    async def workflow() -> Any:
        random.random()
        first = [api.random().random(), str(api.uuid4())]
        await step("a")
        return [*first, api.random().random(), str(api.uuid4())]

    runs = [start(workflow) for _ in range(2)]
    for run in runs:
        run.complete("a")

    assert runs[0].result == runs[1].result
    assert len(set(runs[0].result)) == 4
    assert UUID(runs[0].result[1]).version == 4


def test_random_numbers_and_uuids_are_streams_of_their_own(start: Start) -> None:
    async def workflow(ids: int) -> Any:
        for _ in range(ids):
            api.uuid4()
        return [api.random().random() for _ in range(3)]

    assert start(workflow, 0).result == start(workflow, 5).result


def test_other_runs_draw_other_numbers() -> None:
    async def workflow() -> Any:
        return [api.random().random(), str(api.uuid4())]

    one, other = Run(workflow), Run(workflow, run_id=UUID(int=RUN_ID.int + 1))

    assert not {*one.result} & {*other.result}


def test_numbers_of_a_run_never_change() -> None:
    async def workflow() -> Any:
        return [api.random().random(), str(api.uuid4())]

    # What a run drew before an upgrade of Currant it has to draw after it.
    assert Run(workflow).result == [0.35483874996170894, "f7328a0b-8471-496a-b07a-36f5cec1b914"]
    continued = new_instance(workflow, first_event=7)
    event = Event(7, "started", START, payload=started_payload(1))
    (end,) = continued.apply(event)
    assert json.loads(end.payload or "")["result"] == [
        0.6460041395785825, "8333ee19-3943-44b9-94f7-909443efaf86",
    ]  # fmt: skip


def test_logging_is_silent_while_replaying() -> None:
    shown: list[str] = []

    class Shown(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            shown.append(record.getMessage())

    handler = Shown()
    handler.addFilter(ReplayFilter())
    logger = logging.getLogger("shop")
    logger.addHandler(handler)

    async def workflow() -> Any:
        try:
            logger.warning("begins")
            await step("a")
            logger.warning("goes on")
            await step("b")
        finally:
            logger.warning("ends")

    run = Run(workflow, replay_always=True)
    run.complete("a")
    run.crash()
    logger.warning("elsewhere")
    run.complete("b")
    logger.removeHandler(handler)

    assert shown == ["begins", "goes on", "elsewhere", "ends"]


def test_runs_do_not_disturb_a_loop_that_is_running_already(start: Start) -> None:
    async def workflow() -> Any:
        return await step("a")

    async def main() -> Any:
        outer = asyncio.get_running_loop()
        run = start(workflow)
        run.complete("a", 1)
        assert asyncio.get_running_loop() is outer
        await asyncio.sleep(0)
        return run.result

    assert asyncio.run(main()) == 1


def test_source_of_what_was_handed_to_asyncio_is_where_it_was_handed_over(start: Start) -> None:
    async def workflow() -> Any:
        await asyncio.gather(asyncio.sleep(1))

    run = start(workflow)
    line = test_source_of_what_was_handed_to_asyncio_is_where_it_was_handed_over.__code__
    assert run.commands[0].source == f"test_loop.py:{line.co_firstlineno + 2}"


def test_thousands_of_tasks_at_once() -> None:
    async def workflow() -> Any:
        return sum(await asyncio.gather(*(step("one", i) for i in range(2000))))

    run = Run(workflow)
    for number in range(1, 2001):
        run.complete(number, 1)

    assert run.result == 2000


def test_lock_that_two_runs_share_is_refused_where_it_would_reach_into_the_other() -> None:
    lock = asyncio.Lock()

    async def workflow(name: str) -> Any:
        async with lock:
            await step(name)

    one = Run(workflow, "one")
    other = Run(workflow, "other", run_id=UUID(int=7))
    assert other.instance.blocked is not None
    one.complete("one")

    assert one.error["type"] == "NotAllowedInWorkflow"
    assert "inside of the workflow that uses them" in one.error["message"]
    assert other.short == []


def test_thread_cannot_reach_into_a_run() -> None:
    refused: list[str] = []
    futures: list[asyncio.Future[int]] = []

    async def workflow() -> Any:
        futures.append(asyncio.get_running_loop().create_future())
        await asyncio.gather(step("a"), futures[0])

    run = Run(workflow)
    loop = run.instance.loop

    def reach_in() -> None:
        for reach in (
            lambda: futures[0].set_result(3),
            lambda: loop.call_soon(print),
            lambda: loop.call_later(1, print),
        ):
            with pytest.raises(NotAllowedInWorkflow, match="reached into from outside") as caught:
                reach()
            refused.append(str(caught.value))

    thread = threading.Thread(target=reach_in)
    thread.start()
    thread.join()

    assert len(refused) == 3
    run.complete("a")
    assert run.short == ["task 1 a"]

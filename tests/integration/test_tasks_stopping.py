"""How tasks are stopped: timeouts, threads that hang, cancellation."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from currant import Cancelled, ExecutionFailed, Status, task, task_info
from tests.integration.conftest import StartWorker
from tests.support.worker_database import Database, eventually


class Hang:
    """What sync tasks of a test hang on, until its end."""

    def __init__(self) -> None:
        self.released = threading.Event()
        self.begun = 0

    def __call__(self) -> None:
        self.begun += 1
        self.released.wait(60)


@pytest.fixture
def hang() -> Iterator[Hang]:
    hang = Hang()
    yield hang
    hang.released.set()


# --- Timeouts


async def test_an_async_task_is_stopped_at_its_timeout(work: StartWorker) -> None:
    stopped = asyncio.Event()

    @task(timeout=0.2, retries=0)
    async def slow() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()

    work()
    handle = await slow.queue()

    with pytest.raises(ExecutionFailed, match=r"Timeout: no end after 0.2 s"):
        await handle.result(timeout=10)
    assert stopped.is_set()


async def test_a_timeout_of_its_own_is_an_ordinary_error(work: StartWorker) -> None:
    @task(timeout=10, retries=0)
    async def impatient() -> None:
        async with asyncio.timeout(0):
            await asyncio.Event().wait()

    work()
    handle = await impatient.queue()

    with pytest.raises(ExecutionFailed, match="TimeoutError"):
        await handle.result(timeout=10)


async def test_a_timed_out_attempt_is_tried_again(work: StartWorker) -> None:
    @task(timeout=0.2, retries=1, retry_delay=0)
    async def slow_at_first() -> str:
        if task_info().attempt == 1:
            await asyncio.Event().wait()
        return "in time"

    work()

    assert await asyncio.wait_for(slow_at_first.run(), 10) == "in time"


async def test_a_hung_thread_costs_its_attempt_but_not_its_slot(
    work: StartWorker, hang: Hang, caplog: pytest.LogCaptureFixture
) -> None:
    @task(timeout=0.2, retries=0)
    def stuck() -> None:
        hang()

    @task
    def quick() -> str:
        return "done"

    caplog.set_level("INFO", "currant")
    work(worker_max_concurrent=1)
    handle = await stuck.queue()

    with pytest.raises(ExecutionFailed, match=r"Timeout: .*its thread could not be stopped"):
        await handle.result(timeout=10)
    assert await asyncio.wait_for(quick.run(), 10) == "done"
    await eventually(lambda: "thread could not be stopped" in caplog.text)


async def test_with_too_many_hung_threads_the_worker_ends_with_1(
    work: StartWorker, hang: Hang, caplog: pytest.LogCaptureFixture
) -> None:
    @task(timeout=0.2, retries=0)
    def stuck() -> None:
        hang()

    worker = work(worker_max_concurrent=1)
    handles = await stuck.queue_many([{}, {}])

    assert await asyncio.wait_for(worker.ended, 10) == 1
    assert "2 threads of sync tasks hang" in caplog.text
    assert [await handle.status() for handle in handles] == [Status.FAILED, Status.FAILED]


async def test_a_hung_thread_that_comes_back_does_not_count_any_more(
    work: StartWorker, hang: Hang
) -> None:
    @task(timeout=0.2, retries=0)
    def stuck() -> None:
        hang()

    worker = work(worker_max_concurrent=1)
    for _ in range(3):
        hang.released.clear()
        handle = await stuck.queue()
        with pytest.raises(ExecutionFailed):
            await handle.result(timeout=10)
        hang.released.set()
        await eventually(lambda: worker.worker._executor.hung == 0)

    assert not worker.ended.done()


async def test_the_database_ends_an_attempt_whose_worker_does_not(
    work: StartWorker, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    begun = asyncio.Event()
    stopped = asyncio.Event()

    @task(timeout=600, retries=1, retry_delay=0)
    async def overdue() -> int:
        if task_info().attempt == 1:
            begun.set()
            try:
                await asyncio.Event().wait()
            finally:
                stopped.set()
        return task_info().attempt

    work(worker_heartbeat_timeout=0.5)
    handle = await overdue.queue()
    await asyncio.wait_for(begun.wait(), 10)
    await database.eventually(
        "select steady_since > now() - interval '1 hour' and ticked_at < now() from currant.ticker"
    )
    # The worker thinks that it has ten minutes; the database, that they are over.
    database.rows(
        "update currant.leases set claimed_at = now(), deadline_at = now() - interval '6 seconds'"
    )

    assert await handle.result(timeout=20) == 2
    await asyncio.wait_for(stopped.wait(), 10)
    assert "its lease is gone" in caplog.text


# --- Cancellation


async def test_cancelling_a_running_async_task_stops_it(work: StartWorker) -> None:
    begun = asyncio.Event()
    cleaned_up = asyncio.Event()

    @task(retries=3)
    async def endless() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            cleaned_up.set()

    work(worker_heartbeat_interval=4.9)
    handle = await endless.queue()
    await asyncio.wait_for(begun.wait(), 10)

    assert await handle.cancel("not needed") is Status.RUNNING
    with pytest.raises(Cancelled, match="not needed"):
        await handle.result(timeout=3)
    assert cleaned_up.is_set()
    assert await handle.cancel() is Status.CANCELLED


async def test_cancelling_is_heard_without_notifications_too(work: StartWorker) -> None:
    begun = asyncio.Event()

    @task
    async def endless() -> None:
        begun.set()
        await asyncio.Event().wait()

    work(database_listen_url="off")
    handle = await endless.queue()
    await asyncio.wait_for(begun.wait(), 10)
    await handle.cancel()

    with pytest.raises(Cancelled):
        await handle.result(timeout=10)


async def test_a_running_sync_task_is_told_and_ends_as_it_likes(work: StartWorker) -> None:
    begun = threading.Event()

    @task(retries=3)
    def loop() -> None:
        begun.set()
        pause = threading.Event()
        while not task_info().cancelled:
            pause.wait(0.01)
        raise RuntimeError("stopped half way")

    work()
    handle = await loop.queue()
    await asyncio.to_thread(begun.wait, 10)
    await handle.cancel("enough")

    with pytest.raises(Cancelled, match="enough"):
        await handle.result(timeout=10)


async def test_a_task_that_completes_after_all_has_completed(work: StartWorker) -> None:
    begun = asyncio.Event()

    @task
    async def stubborn() -> str:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "done nevertheless"
        return "never"

    work()
    handle = await stubborn.queue()
    await asyncio.wait_for(begun.wait(), 10)
    await handle.cancel()

    assert await handle.result(timeout=10) == "done nevertheless"


async def test_what_is_ended_by_force_is_over_before_its_worker_hears_of_it(
    work: StartWorker, caplog: pytest.LogCaptureFixture
) -> None:
    begun = asyncio.Event()
    stopped = asyncio.Event()

    @task(retries=3)
    async def stubborn() -> str:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            stopped.set()
        return "done nevertheless"

    work(worker_heartbeat_interval=4.9)
    handle = await stubborn.queue()
    await asyncio.wait_for(begun.wait(), 10)

    assert await handle.cancel("enough", force=True) is Status.CANCELLED
    with pytest.raises(Cancelled, match="enough"):
        await handle.result(timeout=3)
    await asyncio.wait_for(stopped.wait(), 3)
    assert await handle.status() is Status.CANCELLED
    assert "its lease is gone" in caplog.text


async def test_what_waits_is_cancelled_at_once_and_never_runs(
    work: StartWorker, database: Database
) -> None:
    ran = []

    @task
    async def record(what: str) -> None:
        ran.append(what)

    waiting = await record.queue("waiting")
    delayed = await record.options(delay=3600).queue("delayed")

    assert await waiting.cancel() is Status.CANCELLED
    assert await delayed.cancel() is Status.CANCELLED
    work()
    last = await record.queue("last")
    await last.result(timeout=10)
    assert ran == ["last"]


async def test_a_cancelled_task_is_not_tried_again(work: StartWorker, database: Database) -> None:
    @task(retries=3, retry_delay=3600)
    async def failing() -> None:
        raise ValueError("no")

    work()
    handle = await failing.queue()
    await database.eventually("select true from currant.delayed where kind = 'retry'")

    assert await handle.cancel() is Status.CANCELLED
    assert (await handle.state()).attempt == 1

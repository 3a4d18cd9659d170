"""What a worker makes of a task: its arguments, its result, its errors."""

from __future__ import annotations

import asyncio
import sys
import threading
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import Enum
from uuid import UUID

import pytest

from currant import ExecutionFailed, Retry, Status, heartbeat, task, task_info
from currant.database import plain_json
from currant.models import ExecutionState
from tests.integration.conftest import StartWorker
from tests.support.worker_database import Database


class Size(Enum):
    SMALL = "s"
    LARGE = "l"


@dataclass
class Parcel:
    id: UUID
    size: Size
    weight: Decimal
    sent: datetime
    label: bytes


def errors_of(state: ExecutionState) -> list[dict[str, object]]:
    return [attempt["error"] for attempt in plain_json(state.attempts)]


# --- Functions and values


async def test_async_and_sync_functions_run_and_return(work: StartWorker) -> None:
    @task
    async def double(n: int) -> int:
        return 2 * n

    @task
    def shout(text: str, *, marks: int = 1) -> str:
        assert threading.current_thread() is not threading.main_thread()
        return text.upper() + "!" * marks

    work()
    one, other = await double.queue(21), await shout.queue("hey", marks=2)

    assert await one.result(timeout=10) == 42
    assert await other.result(timeout=10) == "HEY!!"
    assert await one.status() is Status.COMPLETED


async def test_typed_values_arrive_and_return_as_they_were(work: StartWorker) -> None:
    @task
    async def send(parcel: Parcel, *, more: list[Parcel]) -> dict[str, Parcel]:
        assert isinstance(parcel, Parcel)
        return {str(one.id): one for one in [parcel, *more]}

    parcel = Parcel(
        UUID(int=7), Size.LARGE, Decimal("1.50"), datetime(2026, 1, 2, tzinfo=UTC), b"\x00\xff"
    )
    work()

    assert await asyncio.wait_for(send.run(parcel, more=[]), 10) == {str(parcel.id): parcel}


async def test_what_a_task_returns_that_is_no_json_fails_it_at_once(work: StartWorker) -> None:
    @task(retries=5)
    async def secretive() -> object:
        return object()

    work()
    handle = await secretive.queue()

    with pytest.raises(ExecutionFailed, match=r"EncodingError: the result of secretive\(\)"):
        await handle.result(timeout=10)
    assert (await handle.state()).attempt == 1


async def test_a_result_over_the_limit_fails_its_task_alone(
    work: StartWorker, database: Database
) -> None:
    @task(retries=5)
    async def fill(size: int) -> str:
        return "x" * size

    database.rows("update currant.configuration set max_payload_bytes = 10000")
    work()
    handles = await fill.queue_many([{"size": 10}, {"size": 20_000}, {"size": 30}])

    with pytest.raises(ExecutionFailed, match=r"EncodingError: .* 20002 bytes"):
        await handles[1].result(timeout=10)
    assert await handles[0].result(timeout=10) == "x" * 10
    assert await handles[2].result(timeout=10) == "x" * 30


async def test_arguments_that_no_longer_fit_fail_the_task_at_once(work: StartWorker) -> None:
    @task(name="changed", retries=5)
    async def before(n: str) -> None: ...

    handle = await before.queue("not a number")

    @task(name="changed", retries=5)
    async def after(n: int) -> None:
        raise AssertionError

    work()

    with pytest.raises(ExecutionFailed, match="DecodingError"):
        await handle.result(timeout=10)
    assert (await handle.state()).attempt == 1


# --- Errors and retries


async def test_a_failed_attempt_is_tried_again_and_remembered(work: StartWorker) -> None:
    @task(retries=3, retry_delay=0)
    async def unsteady() -> int:
        attempt = task_info().attempt
        if attempt < 3:
            raise ValueError(f"not at {attempt}")
        return attempt

    work()
    handle = await unsteady.queue()

    assert await handle.result(timeout=10) == 3
    state = await handle.state()
    assert (state.attempt, state.max_attempts) == (3, 4)
    assert [error["message"] for error in errors_of(state)] == ["not at 1", "not at 2"]
    assert "raise ValueError" in str(errors_of(state)[0]["traceback"])


@pytest.mark.parametrize("is_async", [True, False])
async def test_without_attempts_left_it_has_failed_with_the_last_error(
    work: StartWorker, is_async: bool
) -> None:
    if is_async:

        @task(retries=1, retry_delay=0)
        async def hopeless() -> None:
            raise KeyError("where")
    else:

        @task(retries=1, retry_delay=0)
        def hopeless() -> None:
            raise KeyError("where")

    work()
    handle = await hopeless.queue()

    with pytest.raises(ExecutionFailed, match=r"after 2 attempts: KeyError: 'where'") as caught:
        await handle.result(timeout=10)
    assert 'raise KeyError("where")' in (caught.value.traceback or "")


async def test_retries_wait_longer_each_time(work: StartWorker, database: Database) -> None:
    @task(retries=4, retry_delay=100, retry_backoff=3, retry_max_delay=500)
    async def failing() -> None:
        raise ValueError("again")

    work()
    handle = await failing.queue()
    waits = []
    for attempt in range(2, 6):
        due = "select due_at from currant.delayed where attempt = %s and execution_id = %s"
        await database.eventually(due, attempt, handle)
        waits.append(
            database.value(
                "select extract(epoch from d.due_at - a.ended_at)::float from currant.delayed as d"
                " join currant.attempts as a on a.execution_id = d.execution_id"
                " and a.attempt = d.attempt - 1"
            )
        )
        # Time is not waited for, it is made to have passed.
        database.rows("update currant.delayed set due_at = now()")

    for wait, whole in zip(waits, [100, 300, 500, 500], strict=True):
        assert whole / 2 <= wait <= whole
    with pytest.raises(ExecutionFailed):
        await handle.result(timeout=10)


async def test_retry_says_itself_when_it_is_tried_again(
    work: StartWorker, database: Database
) -> None:
    @task(retries=1, retry_delay=0)
    async def patient() -> int:
        if task_info().attempt == 1:
            raise Retry("the shop is closed", delay=timedelta(hours=8))
        return task_info().attempt

    work()
    handle = await patient.queue()
    await database.eventually("select true from currant.delayed")

    state = await handle.state()
    assert state.status is Status.PENDING
    assert state.waits_for == "its next attempt"
    assert state.due_at is not None
    assert timedelta(hours=7.9) < state.due_at - datetime.now(UTC) <= timedelta(hours=8)
    assert errors_of(state)[0]["message"] == "the shop is closed"
    database.rows("update currant.delayed set due_at = now()")
    assert await handle.result(timeout=10) == 2


async def test_an_error_that_is_not_retryable_ends_it(work: StartWorker) -> None:
    class Refused(Exception):
        pass

    @task(retries=5, non_retryable=Refused)
    async def charge() -> None:
        raise Refused("no cover")

    work()
    handle = await charge.queue()

    with pytest.raises(ExecutionFailed, match="Refused: no cover"):
        await handle.result(timeout=10)
    assert (await handle.state()).attempt == 1


@pytest.mark.parametrize("is_async", [True, False])
@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), StopIteration(1)], ids=repr)
async def test_no_exception_of_a_task_ends_the_worker(
    work: StartWorker, error: BaseException, is_async: bool
) -> None:
    def end() -> None:
        if isinstance(error, SystemExit):
            sys.exit(3)
        raise error

    if is_async:

        @task(retries=0)
        async def deadly() -> None:
            end()
    else:

        @task(retries=0)
        def deadly() -> None:
            end()

    @task
    async def harmless() -> str:
        return "alive"

    worker = work()
    handle = await deadly.queue()

    with pytest.raises(ExecutionFailed):
        await handle.result(timeout=10)
    assert await harmless.run() == "alive"
    assert not worker.ended.done()


async def test_details_of_a_heartbeat_reach_the_next_attempt(work: StartWorker) -> None:
    seen = []

    @task(retries=2, retry_delay=0)
    async def import_rows() -> int:
        start = task_info().details or 0
        seen.append(start)
        for row in range(start, start + 5):
            heartbeat(row)
        if start < 8:
            raise ConnectionError("reset by peer")
        return row

    work()
    handle = await import_rows.queue()

    assert await handle.result(timeout=10) == 12
    assert seen == [0, 4, 8]


async def test_details_of_a_running_task_are_visible_soon(
    work: StartWorker, database: Database
) -> None:
    go_on = threading.Event()

    @task
    def dig() -> None:
        heartbeat({"metres": 5})
        go_on.wait(20)

    work(worker_heartbeat_interval=4.0)
    handle = await dig.queue()

    found = await database.eventually("select details from currant.progress")
    assert found == {"metres": 5}
    assert plain_json((await handle.state()).details) == {"metres": 5}
    go_on.set()
    await handle.result(timeout=10)


@pytest.mark.parametrize("is_async", [True, False])
async def test_a_task_knows_what_it_is(work: StartWorker, is_async: bool) -> None:
    def about() -> list[object]:
        info = task_info()
        assert info.deadline is not None
        left = info.deadline - datetime.now(UTC)
        assert timedelta(seconds=40) < left <= timedelta(seconds=50)
        return [info.id, info.function, info.attempt, info.max_attempts, info.workflow_id]

    if is_async:

        @task(name="about", timeout=50, retries=6)
        async def ask() -> list[object]:
            return about()
    else:

        @task(name="about", timeout=50, retries=6)
        def ask() -> list[object]:
            return about()

    work()
    handle = await ask.queue()

    assert await handle.result(timeout=10) == [str(handle), "about", 1, 7, None]

"""Virtual time: it moves when the test says so, by as much, and everything due follows it."""

from __future__ import annotations

import asyncio
import itertools
import time
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

import currant
from currant import (
    AlreadyEnded,
    ExecutionFailed,
    Retry,
    TaskFailed,
    continue_as_new,
    models,
    send_signal,
    steps_ahead,
    task,
    wait_for_signal,
    workflow,
)
from currant.testing import Environment, hang
from currant.worker import Worker

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


@task(name="kit.note")
async def note(text: str) -> str:
    return text


@workflow(name="kit.sleep")
async def sleep(hours: float) -> str:
    await asyncio.sleep(hours * 3600)
    return await note.run(f"slept {hours:g} h")


@workflow(name="kit.approval")
async def approval() -> str:
    try:
        return str(await wait_for_signal("approved", timeout=86400))
    except TimeoutError:
        return "nobody"


async def test_month_passes_in_no_time(currant_worker: Environment) -> None:
    before, began = currant_worker.now(), time.monotonic()

    result = await currant_worker.run(sleep, 30 * 24)

    assert result == "slept 720 h"
    assert currant_worker.now() == before + 30 * DAY
    assert time.monotonic() - began < 10


async def test_clock_stands_still_by_itself(currant_worker: Environment) -> None:
    before = currant_worker.now()

    await currant_worker.run(note, "a")
    handle = await sleep.queue(0.00001)
    await currant_worker.drain()

    assert await handle.status() == "suspended"
    assert currant_worker.now() == before


async def test_signal_before_timeout_wins(currant_worker: Environment) -> None:
    handle = await approval.queue()
    await currant_worker.drain()
    await currant_worker.skip(DAY - timedelta(seconds=1))

    await handle.signal("approved", "ada")

    assert await currant_worker.result(handle) == "ada"


async def test_signal_right_after_queueing_wins(currant_worker: Environment) -> None:
    before = currant_worker.now()
    handle = await approval.queue()

    await send_signal(handle, "approved", "ada")

    assert await currant_worker.result(handle) == "ada"
    assert currant_worker.now() == before


async def test_signal_after_timeout_is_late(currant_worker: Environment) -> None:
    handle = await approval.queue()
    await currant_worker.skip(DAY)

    with pytest.raises(AlreadyEnded):
        await handle.signal("approved", "ada")

    assert await currant_worker.result(handle) == "nobody"


def test_skip_stops_wherever_something_is_due(currant_worker: Environment) -> None:
    seen = []
    currant_worker.replace(note, lambda text: seen.append((text, currant_worker.now())))
    start = currant_worker.now()
    for hours in (3, 1, 2, 5):
        sleep.queue_sync(hours)

    currant_worker.skip_sync(4 * HOUR)

    assert seen == [(f"slept {n} h", start + n * HOUR) for n in (1, 2, 3)]
    assert currant_worker.now() == start + 4 * HOUR


def test_skip_goes_no_further_than_it_is_told(currant_worker: Environment) -> None:
    handle = sleep.queue_sync(1)

    currant_worker.skip_sync(3599.999)
    early = handle.status_sync()
    currant_worker.skip_sync(0.001)

    assert (early, handle.status_sync()) == ("suspended", "completed")


async def test_year_of_daily_steps(currant_worker: Environment) -> None:
    @workflow
    async def diary() -> int:
        for day in range(365):
            await note.run(f"day {day}")
            await asyncio.sleep(86400)
        return 365

    before = currant_worker.now()

    assert await currant_worker.run(diary) == 365

    assert currant_worker.now() == before + 365 * DAY
    assert len(currant_worker.calls(note)) == 365


def test_retries_wait_on_the_clock(currant_worker: Environment) -> None:
    @task(retries=3, retry_delay=3600, retry_backoff=2, retry_max_delay=86400)
    async def flaky() -> str:
        attempt = currant.task_info().attempt
        moments.append(currant_worker.now())
        if attempt < 4:
            raise ConnectionError(f"attempt {attempt}")
        return "at last"

    moments: list[datetime] = []

    result = currant_worker.run_sync(flaky)

    waits = [later - earlier for earlier, later in itertools.pairwise(moments)]
    assert result == "at last"
    assert [call.attempt for call in currant_worker.calls(flaky)] == [1, 2, 3, 4]
    # A random half to whole of an hour, doubled each time.
    bounds = [(HOUR / 2, HOUR), (HOUR, 2 * HOUR), (2 * HOUR, 4 * HOUR)]
    assert all(low <= wait <= high for wait, (low, high) in zip(waits, bounds, strict=True))


def test_task_says_when_it_wants_its_retry(currant_worker: Environment) -> None:
    @task(retries=1)
    def later() -> None:
        if currant.task_info().attempt == 1:
            raise Retry("not yet", delay=2 * 3600)

    before = currant_worker.now()

    currant_worker.run_sync(later)

    assert currant_worker.now() == before + 2 * HOUR


async def test_delay_and_run_at_are_of_the_clock(currant_worker: Environment) -> None:
    start = currant_worker.now()
    later = await note.options(delay=DAY).queue("delayed")
    at = await note.options(run_at=start + 2 * DAY).queue("at")

    await currant_worker.skip(DAY)
    statuses = [await later.status(), await at.status()]

    assert statuses == ["completed", "pending"]
    assert await currant_worker.result(at) == "at"
    assert currant_worker.now() == start + 2 * DAY


async def test_workflow_runs_out_of_its_time(currant_worker: Environment) -> None:
    @workflow(timeout=600)
    async def impatient() -> str:
        return await note.options(timeout=86400).run("never")

    currant_worker.replace(note, hang)
    before = currant_worker.now()

    with pytest.raises(ExecutionFailed, match="ran out of its time"):
        await currant_worker.run(impatient)

    assert currant_worker.now() == before + timedelta(minutes=10)


def test_hanging_task_times_out(currant_worker: Environment) -> None:
    @task(timeout=60, retries=1, retry_delay=10)
    async def call_out() -> str:
        raise AssertionError("replaced")

    @workflow
    async def caller() -> str:
        try:
            return await call_out.run()
        except TaskFailed as error:
            return f"{error.type} after {error.attempts}"

    currant_worker.replace(call_out, hang)

    result = currant_worker.run_sync(caller)

    assert result == "Timeout after 2"
    assert [call.attempt for call in currant_worker.calls(call_out)] == [1, 2]


async def test_workflow_gives_up_on_hanging_task(currant_worker: Environment) -> None:
    @workflow
    async def caller() -> str:
        try:
            async with asyncio.timeout(20):
                return await note.run("slow")
        except TimeoutError:
            return "gave up"

    currant_worker.replace(note, hang)
    before = currant_worker.now()

    assert await currant_worker.run(caller) == "gave up"

    assert currant_worker.now() == before + timedelta(seconds=20)


@pytest.mark.currant(start=datetime(2031, 1, 31, 12, tzinfo=UTC))
async def test_clock_begins_where_the_test_says(currant_worker: Environment) -> None:
    @workflow
    async def dates() -> list[datetime]:
        first = currant.now()
        await asyncio.sleep(86400)
        return [first, currant.now()]

    start = datetime(2031, 1, 31, 12, tzinfo=UTC)

    assert await currant_worker.run(dates) == [start, start + DAY]


async def test_time_passes_for_runs_that_continue_as_new(currant_worker: Environment) -> None:
    @workflow
    async def monthly(month: int) -> str:
        await asyncio.sleep(30 * 86400)
        await note.run(f"month {month}")
        if month < 3:
            continue_as_new(month + 1)
        return "done"

    before = currant_worker.now()

    assert await currant_worker.run(monthly, 1) == "done"

    notes = [call.arguments["text"] for call in currant_worker.calls(note)]
    assert notes == ["month 1", "month 2", "month 3"]
    assert currant_worker.now() == before + 90 * DAY


async def test_time_passes_for_child_workflows(currant_worker: Environment) -> None:
    @workflow
    async def parent() -> list[str]:
        return list(await asyncio.gather(sleep.run(48), sleep.run(24)))

    before = currant_worker.now()

    assert await currant_worker.run(parent) == ["slept 48 h", "slept 24 h"]

    assert currant_worker.now() == before + 2 * DAY


async def test_waiting_elsewhere_goes_on_over_skipped_time(currant_worker: Environment) -> None:
    handle = await sleep.queue(24 * 30)
    await currant_worker.drain()
    waiting = asyncio.create_task(handle.result())
    await asyncio.sleep(0)

    await currant_worker.skip(30 * DAY)

    assert await asyncio.wait_for(waiting, 5) == "slept 720 h"


async def test_task_that_waits_for_a_workflow_does_not_stop_time(
    currant_worker: Environment,
) -> None:
    @task(timeout=10 * 86400)
    async def outer() -> str:
        return await sleep.run(48)

    before = currant_worker.now()

    assert await currant_worker.run(outer) == "slept 48 h"

    assert currant_worker.now() == before + 2 * DAY


def test_clock_of_the_database_comes_back(currant_db: str) -> None:
    with psycopg.connect(currant_db) as connection:
        definition = "select pg_get_functiondef('currant._now()'::regprocedure)"
        before = connection.execute(definition.encode()).fetchone()

    with Environment(currant_db) as environment:
        environment.skip_sync(365 * DAY)

    with psycopg.connect(currant_db) as connection:
        assert connection.execute(definition.encode()).fetchone() == before
        row = connection.execute(
            "select currant._now() - clock_timestamp(), to_regnamespace('currant_testing')"
        ).fetchone()
    assert row is not None
    assert abs(row[0]) < timedelta(minutes=1)
    assert row[1] is None


def test_time_does_not_go_back(currant_worker: Environment) -> None:
    with pytest.raises(ValueError, match="does not go back"):
        currant_worker.skip_sync(-1)


@pytest.mark.currant(replay=False)
async def test_steps_are_taken_at_the_time_of_the_clock(
    currant_worker: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that a worker takes ahead too, which has to guess the database's time elsewhere."""
    steps: list[models.Word] = []
    settled = Worker.settled

    def spied(worker: Worker, report: models.Report, word: models.Word) -> None:
        if isinstance(report, models.Step):
            steps.append(word)
        settled(worker, report, word)

    monkeypatch.setattr(Worker, "settled", spied)
    # Not to depend on how busy the machine is.
    monkeypatch.setattr(steps_ahead, "_PATIENCE", 60.0)

    @workflow(name="kit.dated")
    async def dated() -> list[datetime]:
        times = []
        for hours in range(3):
            await note.run("tick")
            times.append(currant.now())
            await asyncio.sleep(hours * 3600)
        await note.run("end")
        return [*times, currant.now()]

    began = currant_worker.now()
    times = await currant_worker.run(dated)

    assert [(each - began) / HOUR for each in times] == [0, 0, 1, 3]
    assert steps == [models.Word.ACCEPTED] * 4

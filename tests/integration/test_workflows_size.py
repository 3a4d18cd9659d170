"""Workflows with hundreds of steps, children and signals come to the right end.

How the cost grows with the size is what benchmarks/workflow_scale.py measures.
"""

from __future__ import annotations

import asyncio

import pytest

from currant import (
    PayloadTooLarge,
    SideEffectFailed,
    continue_as_new,
    replaying,
    send_signal,
    side_effect,
    task,
    wait_for_signal,
    workflow,
)
from tests.integration.conftest import StartWorker
from tests.support.worker_database import Database


@pytest.fixture(params=[1000, 0], ids=["cache", "replay"])
def cache(request: pytest.FixtureRequest) -> int:
    """How many workflows the workers keep in memory."""
    size: int = request.param
    return size


@task(name="size.add", queue="flows")
async def add(total: int, number: int) -> int:
    return total + number


@workflow(name="size.double", queue="flows")
async def double(number: int) -> int:
    return await add.run(number, number)


def follows(database: Database, execution: str) -> bool:
    return replaying.replay(database.value("select currant.export_history(%s)", execution)).ok


async def test_hundreds_of_steps_one_after_the_other(
    work: StartWorker, cache: int, database: Database
) -> None:
    # Without memory each step replays those before it.
    size = 500 if cache else 150

    @workflow(queue="flows")
    async def climb(steps: int) -> int:
        height = 0
        for step in range(steps):
            height = await add.run(height, step)
        return height

    work("flows", worker_workflow_cache=cache)
    handle = await climb.queue(size)

    assert await handle.result(timeout=60) == sum(range(size))
    assert database.value("select count(*) from currant.history_entries") == 2 * (size + 1)
    assert follows(database, handle)


async def test_300_children_at_once(work: StartWorker, cache: int, database: Database) -> None:
    @workflow(queue="flows")
    async def family(size: int) -> list[int]:
        return await asyncio.gather(*(double.run(number) for number in range(size)))

    work("flows", worker_workflow_cache=cache, worker_max_concurrent=50)
    handle = await family.queue(300)

    assert await handle.result(timeout=60) == [2 * number for number in range(300)]
    assert database.value("select count(*) from currant.outcomes where status = 'completed'") == 601
    assert follows(database, handle)


async def test_300_signals_in_order(work: StartWorker, cache: int, database: Database) -> None:
    @workflow(queue="flows")
    async def collect(count: int) -> list[int]:
        return [await wait_for_signal("number", type=int) for _ in range(count)]

    handle = await collect.queue(300)
    for number in range(150):
        await handle.signal("number", number)
    work("flows", worker_workflow_cache=cache)
    for number in range(150, 300):
        await handle.signal("number", number)

    assert await handle.result(timeout=60) == list(range(300))
    assert follows(database, handle)


async def test_a_family_that_is_cancelled_leaves_nothing(
    work: StartWorker, cache: int, database: Database
) -> None:
    @workflow(queue="flows")
    async def wait_for_it() -> None:
        await wait_for_signal("never")

    @workflow(queue="flows")
    async def family(size: int) -> None:
        await asyncio.gather(*(wait_for_it.run() for _ in range(size)))

    work("flows", worker_workflow_cache=cache)
    handle = await family.queue(300)
    await database.eventually(
        "select count(*) = 300 from currant.workflows where waits_for = 'signal never'"
    )

    await handle.cancel()

    await database.eventually(
        "select count(*) = 301 from currant.outcomes where status = 'cancelled'"
    )
    for table in ("workflows", "leases", "delayed", "watchers", "inbox"):
        await database.eventually(f"select count(*) = 0 from currant.{table}")
    assert follows(database, handle)


@task(name="size.measure", queue="flows")
async def measure(what: str | list[int]) -> int:
    return len(what)


@workflow(name="size.measuring", queue="flows")
async def measuring(what: str | list[int]) -> int:
    return await measure.run(what)


async def test_what_is_too_large_is_refused_where_it_is_sent(
    work: StartWorker, cache: int, database: Database
) -> None:
    @workflow(queue="flows")
    async def careful(carries_on: str = "") -> list[str]:
        refused = []
        # 200,000 small numbers are short as text, and long in the database.
        for what in ("x" * (1 << 20), [1] * 200_000):
            for send in (
                lambda: measure.run(what),  # noqa: B023  (called at once)
                lambda: measuring.run(what),  # noqa: B023
                lambda: measure.queue(what),  # noqa: B023
                lambda: send_signal((measuring, "nobody"), "what", what),  # noqa: B023
            ):
                await measure.run("in between")
                try:
                    await send()
                except PayloadTooLarge as error:
                    refused.append(str(error).split(" would")[0])
        try:
            side_effect(lambda: "x" * (1 << 20))
        except SideEffectFailed as error:
            refused.append(error.type)
        try:
            continue_as_new("x" * (1 << 20))
        except PayloadTooLarge:
            refused.append("continue_as_new")
        await measure.run("the end")
        return refused

    work("flows", worker_workflow_cache=cache)
    handle = await careful.queue()

    each = [
        "the arguments of size.measure()",
        "the arguments of size.measuring()",
        "the arguments of size.measure()",
        "the payload of signal 'what'",
    ]
    assert await handle.result(timeout=30) == [*each, *each, "PayloadTooLarge", "continue_as_new"]
    assert follows(database, handle)


async def test_what_just_fits_is_sent(work: StartWorker, cache: int) -> None:
    @workflow(queue="flows")
    async def exact() -> list[int]:
        # A member called `what`, of a text or of numbers, up to the last byte.
        texts = ["x" * ((1 << 20) - 8 - 8 - 4), [1] * (((1 << 20) - 8 - 8 - 4 - 4) // 12)]
        return [await measure.run(text) for text in texts]

    work("flows", worker_workflow_cache=cache)
    handle = await exact.queue()

    assert await handle.result(timeout=30) == [1048556, 87379]

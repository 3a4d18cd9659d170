"""Workflows that go on as a new run of themselves, on a real worker."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

import currant
from currant import (
    AlreadyEnded,
    Cancelled,
    ExecutionFailed,
    Status,
    continue_as_new,
    get_version,
    info,
    side_effect,
    task,
    wait_for_signal,
    workflow,
)
from tests.integration.conftest import StartWorker
from tests.integration.flows import Endless, commands, events, waits_for
from tests.support.worker_database import Database


@task(name="continue.add", queue="flows")
async def add(a: int, b: int) -> int:
    return a + b


@workflow(name="continue.wait", queue="flows")
async def wait(name: str) -> str:
    return str(await wait_for_signal(name))


async def test_a_workflow_goes_on_with_new_arguments_under_its_id(
    work: StartWorker, cache: int, database: Database
) -> None:
    @workflow(queue="flows")
    async def count(to: int, since: datetime, done: int = 0) -> list[Any]:
        done = await add.run(done, 1)
        if done < to:
            continue_as_new(to, since, done=done)
        return [done, since == datetime(2026, 1, 1, tzinfo=UTC), info().is_continued, info().id]

    work("flows", worker_workflow_cache=cache)
    handle = await count.queue(20, datetime(2026, 1, 1, tzinfo=UTC))

    assert await handle.result(timeout=20) == [20, True, True, handle]
    assert events(database, handle) == ["started", "task_completed"] * 20
    assert commands(database, handle).count("continue_as_new") == 19


async def test_a_run_that_does_nothing_but_continue_gets_to_its_end(
    work: StartWorker, cache: int
) -> None:
    @workflow(queue="flows")
    async def fall(height: int) -> str:
        if height:
            continue_as_new(height - 1)
        return "down"

    work("flows", worker_workflow_cache=cache)

    assert await asyncio.wait_for(fall.run(100), 20) == "down"


async def test_signals_that_nobody_took_reach_the_next_run_in_their_order(
    work: StartWorker, cache: int, database: Database
) -> None:
    @workflow(queue="flows")
    async def collect(found: list[Any], left: int) -> list[Any]:
        # Of a name that is waited for later, these are in the mailbox when the run ends.
        found.append(await wait_for_signal("item"))
        if left > 1:
            continue_as_new(found, left - 1)
        return [*found, await wait_for_signal("last")]

    handle = await collect.queue([], 6)
    await handle.signal("last", "z")
    for number in range(3):
        await handle.signal("item", number)
    work("flows", worker_workflow_cache=cache)
    await waits_for(database, "signal item")
    for number in range(3, 6):
        await handle.signal("item", number)

    assert await handle.result(timeout=10) == [0, 1, 2, 3, 4, 5, "z"]


async def test_signals_sent_while_a_workflow_continues_are_all_read(
    work: StartWorker, cache: int
) -> None:
    @workflow(queue="flows")
    async def collect(found: list[int], left: int) -> list[int]:
        for _ in range(min(5, left)):
            found.append(int(await wait_for_signal("item")))
            left -= 1
        if left:
            continue_as_new(found, left)
        return found

    work("flows", worker_workflow_cache=cache)
    work("flows", worker_workflow_cache=cache)
    handle = await collect.queue([], 100)
    await asyncio.gather(*(handle.signal("item", number) for number in range(100)))

    assert sorted(await handle.result(timeout=20)) == list(range(100))


@pytest.mark.parametrize(("option", "outcome"), [("cancel", "cancelled"), ("abandon", "completed")])
async def test_children_that_are_open_are_cancelled_or_left_alone(
    option: str, outcome: str, work: StartWorker, cache: int, database: Database
) -> None:
    @workflow(queue="flows")
    async def parent(is_first: bool) -> str:
        if is_first:
            child = asyncio.create_task(wait.options(on_parent_end=option).run("go"))
            await wait_for_signal("continue")
            assert not child.done()
            continue_as_new(is_first=False)
        return str(await wait_for_signal("end"))

    work("flows", worker_workflow_cache=cache)
    handle = await parent.queue(True)
    await waits_for(database, "signal go")
    await handle.signal("continue")
    await waits_for(database, "signal end")
    [child] = database.rows(
        "select id from currant.execution_status where function = 'continue.wait'"
    )
    if option == "abandon":
        await currant.send_signal(child.id, "go", "free")
    await database.eventually(
        "select true from currant.outcomes where execution_id = %s and status = %s",
        child.id,
        outcome,
    )
    await handle.signal("end", "done")

    # The child's end, which has no meaning for this run, did not disturb it.
    assert await handle.result(timeout=10) == "done"


async def test_what_an_earlier_run_waited_for_is_no_concern_of_the_next(
    work: StartWorker, cache: int, database: Database, endless: Endless
) -> None:
    @workflow(queue="flows")
    async def parent(other: str, is_first: bool = True) -> str:
        if is_first:
            waiting = [
                asyncio.create_task(endless.run()),
                asyncio.create_task(asyncio.sleep(3600)),
                asyncio.create_task(currant.Handle(other).result()),
            ]
            await wait_for_signal("continue")
            assert not any(each.done() for each in waiting)
            continue_as_new(other, is_first=False)
        return str(await wait_for_signal("end"))

    work("flows", worker_workflow_cache=cache)
    other = await wait.queue("go")
    handle = await parent.queue(other)
    await endless.begun()
    await handle.signal("continue")
    await waits_for(database, "signal end")
    await endless.stopped()
    await other.signal("go")
    await other.result(timeout=10)

    left = "select array_agg(kind) from currant.delayed where execution_id = %s"
    assert database.value(left, handle) in (None, ["deadline"])
    await handle.signal("end", "done")
    assert await handle.result(timeout=10) == "done"
    assert "timer_fired" not in events(database, handle)


async def test_each_run_has_numbers_of_its_own_the_same_at_every_replay(
    work: StartWorker, database: Database
) -> None:
    seen: list[tuple[Any, ...]] = []

    @workflow(queue="flows")
    async def roll(left: int) -> None:
        made = (left, str(currant.uuid4()), currant.random().random(), side_effect(lambda: left))
        seen.append(made)
        await add.run(1, 1)
        await wait_for_signal("next")
        if left:
            continue_as_new(left - 1)

    work("flows", worker_workflow_cache=0)
    handle = await roll.queue(2)
    for number in range(3):
        await database.eventually(
            "select count(*) = %s from currant.history(%s) where kind = 'started'",
            number + 1,
            handle,
        )
        await waits_for(database, "signal next")
        await handle.signal("next")
    await handle.result(timeout=10)

    assert len(set(seen)) == 3, "one for each run"
    assert len(seen) > 6, "they were replayed"
    assert len({made[1] for made in set(seen)}) == len({made[2] for made in set(seen)}) == 3


async def test_versions_are_chosen_anew(work: StartWorker, cache: int, database: Database) -> None:
    @workflow(name="order", queue="flows", version=1)
    async def before(seen: list[int]) -> list[int]:
        seen.append(get_version("check", 1, 1))
        await wait_for_signal("go")
        continue_as_new(seen)

    worker = work("flows", worker_workflow_cache=cache)
    handle = await before.queue([])
    await waits_for(database, "signal go")
    await worker.stop()

    @workflow(name="order", queue="flows", version=2)
    async def after(seen: list[int]) -> list[int]:
        seen.append(get_version("check", 1, 2))
        await wait_for_signal("go")
        if len(seen) < 2:
            continue_as_new(seen)
        return seen

    work("flows", worker_workflow_cache=cache)
    await handle.signal("go")
    await handle.signal("go")

    assert await handle.result(timeout=10) == [1, 2]


async def test_a_continued_workflow_keeps_its_key_and_ends_once(
    work: StartWorker, cache: int, database: Database
) -> None:
    @workflow(queue="flows")
    async def entity(total: int) -> int:
        amount = int(await wait_for_signal("add"))
        if amount:
            continue_as_new(total + amount)
        return total

    work("flows", worker_workflow_cache=cache)
    keyed = entity.options(key="account 7")
    handle = await keyed.queue(0)
    for amount in (1, 2, 3):
        await currant.send_signal((entity, "account 7"), "add", amount)
    assert await keyed.queue(0) == handle
    await handle.signal("add", 0)

    assert await handle.result(timeout=10) == 6
    with pytest.raises(AlreadyEnded):
        await handle.signal("add", 1)


async def test_a_continued_workflow_can_be_cancelled(
    work: StartWorker, cache: int, database: Database
) -> None:
    @workflow(queue="flows")
    async def endless(turn: int) -> None:
        if turn < 3:
            continue_as_new(turn + 1)
        await wait_for_signal("never")

    work("flows", worker_workflow_cache=cache)
    handle = await endless.queue(0)
    await waits_for(database, "signal never")
    await handle.cancel("enough")

    with pytest.raises(Cancelled, match="enough"):
        await handle.result(timeout=10)


async def test_a_cancel_that_was_answered_by_continuing_can_be_repeated(
    work: StartWorker, cache: int, database: Database
) -> None:
    @workflow(queue="flows")
    async def stubborn(turn: int) -> None:
        try:
            await wait_for_signal(f"never {turn}")
        except asyncio.CancelledError:
            if turn:
                raise
            continue_as_new(turn + 1)

    work("flows", worker_workflow_cache=cache)
    handle = await stubborn.queue(0)
    await waits_for(database, "signal never 0")
    await handle.cancel("first")
    await waits_for(database, "signal never 1")
    assert await handle.status() is Status.SUSPENDED
    await handle.cancel("second")

    with pytest.raises(Cancelled, match="second"):
        await handle.result(timeout=10)


async def test_arguments_that_do_not_fit_fail_the_workflow_at_the_call(
    work: StartWorker, cache: int
) -> None:
    @workflow(queue="flows")
    async def wrong(number: int) -> None:
        await add.run(1, 1)
        continue_as_new("x")

    work("flows", worker_workflow_cache=cache)
    handle = await wrong.queue(1)

    with pytest.raises(ExecutionFailed, match="EncodingError: argument 'number' of wrong"):
        await handle.result(timeout=10)


async def test_a_parent_gets_the_result_of_the_last_run_of_its_child(
    work: StartWorker, cache: int, database: Database
) -> None:
    @workflow(queue="flows")
    async def count(left: int, done: int = 0) -> int:
        done = await add.run(done, 1)
        if left > 1:
            continue_as_new(left - 1, done)
        return done

    @workflow(queue="flows")
    async def parent() -> list[int]:
        return await asyncio.gather(*(count.run(left) for left in (1, 5, 10)))

    work("flows", worker_workflow_cache=cache)
    handle = await parent.queue()

    assert await handle.result(timeout=20) == [1, 5, 10]
    assert events(database, handle) == ["started"] + ["child_completed"] * 3

"""Signals to who holds a key, signals with keys, workflows begun by a signal."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from currant import (
    AlreadyEnded,
    Client,
    ExecutionNotFound,
    Handle,
    Status,
    continue_as_new,
    send_signal,
    send_signal_sync,
    wait_condition,
    wait_for_signal,
    workflow,
)
from tests.integration.conftest import StartWorker
from tests.integration.flows import waits_for
from tests.support.worker_database import Database


@workflow(name="signals.collect", queue="flows")
async def collect(count: int) -> list[Any]:
    return [await wait_for_signal("item") for _ in range(count)]


def executions(database: Database) -> int:
    found: int = database.value("select count(*) from currant.executions")
    return found


# --- By key


async def test_a_signal_reaches_the_workflow_that_holds_a_key(
    work: StartWorker, cache: int, app: Client
) -> None:
    work("flows", worker_workflow_cache=cache)
    handle = await collect.options(key="o7").queue(4)

    await send_signal((collect, "o7"), "item", 1)
    await send_signal(("signals.collect", "o7"), "item", 2)
    await app.signal((collect, "o7"), "item", 3)
    await asyncio.to_thread(send_signal_sync, (collect, "o7"), "item", 4)

    assert await handle.result(timeout=10) == [1, 2, 3, 4]


@pytest.mark.usefixtures("app")
async def test_a_key_that_nobody_holds_is_an_error() -> None:
    await collect.options(key="other").queue(1)

    with pytest.raises(ExecutionNotFound):
        await send_signal((collect, "o7"), "item")
    with pytest.raises(ExecutionNotFound):
        await send_signal(("signals.unheard", "other"), "item")


@pytest.mark.usefixtures("app")
async def test_a_key_whose_workflow_has_ended_is_an_error() -> None:
    handle = await collect.options(key="o7").queue(1)
    await handle.cancel()

    with pytest.raises(AlreadyEnded):
        await send_signal((collect, "o7"), "item")


async def test_a_workflow_can_signal_by_key_and_who_is_not_there_does_not_matter(
    work: StartWorker, cache: int
) -> None:
    @workflow(queue="flows")
    async def sender() -> str:
        await send_signal((collect, "nobody"), "item", 0)
        await send_signal(uuid4_of_nobody, "item", 0)
        await send_signal((collect, "o7"), "item", 1)
        return "sent"

    uuid4_of_nobody = uuid4()
    work("flows", worker_workflow_cache=cache)
    handle = await collect.options(key="o7").queue(1)

    assert await asyncio.wait_for(sender.run(), 10) == "sent"
    assert await handle.result(timeout=10) == [1]


# --- Once


async def test_a_signal_with_a_key_arrives_once(work: StartWorker, cache: int, app: Client) -> None:
    work("flows", worker_workflow_cache=cache)
    handle = await collect.options(key="o7").queue(3)

    await handle.signal("item", 1, key="a")
    await handle.signal("item", 1, key="a")
    await send_signal((collect, "o7"), "item", 1, key="a")
    await asyncio.to_thread(handle.signal_sync, "item", 1, key="a")
    await app.signal(handle, "item", 2, key="b")
    await handle.signal("item", 3)

    assert await handle.result(timeout=10) == [1, 2, 3]


@pytest.mark.usefixtures("app")
async def test_a_repeated_signal_with_a_key_is_no_error_after_the_end() -> None:
    handle = await collect.queue(1)
    await handle.signal("item", 1, key="a")
    await handle.cancel(force=True)

    await handle.signal("item", 1, key="a")
    with pytest.raises(AlreadyEnded):
        await handle.signal("item", 1, key="b")


async def test_a_signal_in_a_transaction_that_is_rolled_back_was_never_sent(
    work: StartWorker, cache: int, database_url: str
) -> None:
    work("flows", worker_workflow_cache=cache)
    handle = await collect.options(key="o7").queue(1)
    async with await psycopg.AsyncConnection.connect(database_url) as connection:
        await send_signal((collect, "o7"), "item", "never", connection=connection)
        await connection.rollback()
        await send_signal((collect, "o7"), "item", "sent", connection=connection)

    assert await handle.result(timeout=10) == ["sent"]


# --- Begun by a signal


async def test_a_signal_begins_the_workflow_that_is_to_get_it(
    work: StartWorker, cache: int, database: Database
) -> None:
    work("flows", worker_workflow_cache=cache)
    keyed = collect.options(key="o7")

    first = await keyed.queue_and_signal("item", 1, 2)
    second = await keyed.queue_and_signal("item", 2, count=2)
    assert first == second
    assert await first.result(timeout=10) == [1, 2]
    third = await asyncio.to_thread(keyed.queue_and_signal_sync, "item", 3, count=1)

    assert third != first
    assert await third.result(timeout=10) == [3]
    assert executions(database) == 2


async def test_with_a_key_for_ever_or_an_id_it_is_begun_once(work: StartWorker, cache: int) -> None:
    work("flows", worker_workflow_cache=cache)
    for once in (
        collect.options(key="o7", key_scope="always"),
        collect.options(id=uuid4()),
    ):
        handle = await once.queue_and_signal("item", 1, 1)

        assert await handle.result(timeout=10) == [1]
        with pytest.raises(AlreadyEnded):
            await once.queue_and_signal("item", 2, 1)


async def test_all_who_begin_it_at_once_reach_the_same(
    work: StartWorker, cache: int, database: Database
) -> None:
    work("flows", worker_workflow_cache=cache)
    keyed = collect.options(key="o7")

    handles = await asyncio.gather(*(keyed.queue_and_signal("item", n, 20) for n in range(20)))

    assert len(set(handles)) == 1
    assert sorted(await handles[0].result(timeout=10)) == list(range(20))
    assert executions(database) == 1


async def test_a_repeated_beginning_signals_once(
    work: StartWorker, cache: int, database: Database
) -> None:
    work("flows", worker_workflow_cache=cache)
    keyed = collect.options(key="o7", signal_key="event 1")

    first = await keyed.queue_and_signal("item", 1, 2)
    assert await keyed.queue_and_signal("item", 1, 2) == first
    await waits_for(database, "signal item")
    await first.signal("item", 2)

    assert await first.result(timeout=10) == [1, 2]


async def test_no_signal_is_lost_to_a_workflow_that_is_just_ending(
    work: StartWorker, cache: int, database: Database
) -> None:
    work("flows", worker_workflow_cache=cache)
    work("flows", worker_workflow_cache=cache)
    keyed = collect.options(key="o7")

    async def send(numbers: range) -> None:
        for number in numbers:
            await keyed.queue_and_signal("item", number, 10)

    # Each of them ends with its tenth, whatever else has come until then.
    await asyncio.gather(*(send(range(start, 200, 4)) for start in range(4)))
    await database.eventually("select count(*) = 20 from currant.outcomes")

    seen: list[int] = []
    for row in database.rows("select id from currant.executions"):
        handle: Handle[list[int]] = Handle(row.id)
        seen += await handle.result(timeout=10)
    assert sorted(seen) == list(range(200))


async def test_rolled_back_nothing_was_begun(app: Client, database: Database) -> None:
    async with await psycopg.AsyncConnection.connect(database.url) as connection:
        keyed = collect.options(key="o7", connection=connection)
        await keyed.queue_and_signal("item", 1, 1)
        await connection.rollback()

    assert executions(database) == 0


# --- And what is made of them


async def test_a_condition_over_what_signals_brought(
    work: StartWorker, cache: int, database: Database
) -> None:
    @workflow(queue="flows")
    async def tally(quorum: int) -> dict[str, bool]:
        votes: dict[str, bool] = {}

        async def count() -> None:
            while True:
                vote = await wait_for_signal("vote")
                votes[vote["by"]] = vote["yes"]

        counting = asyncio.create_task(count())
        await wait_condition(lambda: len(votes) >= quorum, timeout=3600)
        counting.cancel()
        return votes

    work("flows", worker_workflow_cache=cache)
    handle = await tally.queue(3)
    for name in "aab":
        await handle.signal("vote", {"by": name, "yes": True})
    await waits_for(database, "condition")
    assert await handle.status() is Status.SUSPENDED
    await handle.signal("vote", {"by": "c", "yes": False})

    assert await handle.result(timeout=10) == {"a": True, "b": True, "c": False}


@pytest.mark.parametrize("is_continued", [False, True], ids=["one run", "continued"])
async def test_what_a_workflow_took_in_and_never_read_goes_to_the_next(
    work: StartWorker, cache: int, database: Database, is_continued: bool
) -> None:
    @workflow(queue="flows", name="reads_one")
    async def reads_one(again: bool = is_continued) -> int:
        await asyncio.sleep(0.01)  # by then both signals have been applied
        if again:
            continue_as_new(False)
        return await wait_for_signal("item", type=int)

    keyed = reads_one.options(key="o7")
    for number in (1, 2, 3):
        await keyed.queue_and_signal("item", number)
    assert executions(database) == 1

    work("flows", worker_workflow_cache=cache)
    await database.eventually("select count(*) = 3 from currant.outcomes")

    results = database.rows("select result from currant.outcomes order by finished_at")
    assert [row.result for row in results] == [1, 2, 3]
    assert database.value("select count(*) from currant.inbox") == 0

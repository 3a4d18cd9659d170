"""Ways to have a task run: options, keys, many at once, transactions, tasks that wait for tasks."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

import currant
from currant import Client, ExecutionFailed, Status, task, task_info
from tests.integration.conftest import StartWorker
from tests.support.worker_database import Database


async def test_delay_and_run_at_put_a_start_off(work: StartWorker, database: Database) -> None:
    @task
    async def greet() -> str:
        return "good morning"

    tomorrow = datetime.now(UTC) + timedelta(days=1)
    later = await greet.options(delay=timedelta(hours=2)).queue()
    at = await greet.options(run_at=tomorrow).queue()
    soon = await greet.options(delay=0.2).queue()
    work()

    assert await soon.result(timeout=10) == "good morning"
    assert await later.status() is Status.PENDING
    assert (await at.state()).due_at == tomorrow
    database.rows("update currant.delayed set due_at = now()")
    assert await later.result(timeout=10) == await at.result(timeout=10) == "good morning"


async def test_higher_priorities_go_first_and_equal_ones_in_order(work: StartWorker) -> None:
    order = []

    @task
    async def record(name: str) -> None:
        order.append(name)

    await record.queue("a")
    await record.options(priority=-1).queue("last")
    await record.options(priority=5).queue("first")
    await record.options(priority=1).queue("second")
    handles = [await record.queue("b"), await record.options(priority=-1).queue("very last")]
    work(worker_max_concurrent=1)

    for handle in handles:
        await handle.result(timeout=10)
    assert order == ["first", "second", "a", "b", "last", "very last"]


async def test_a_key_makes_one_execution_of_many_calls(work: StartWorker) -> None:
    ran = []

    @task
    async def charge(amount: int) -> int:
        ran.append(amount)
        return amount

    work()
    keyed = charge.options(key="order-1")
    first, second = await asyncio.gather(keyed.queue(5), keyed.queue(6))

    assert first == second
    assert await first.result(timeout=10) == await second.result(timeout=10)
    assert await keyed.queue(7) == first
    assert len(ran) == 1


async def test_options_of_a_call_go_over_the_declaration(work: StartWorker) -> None:
    @task(queue="slow", retries=9, timeout=60)
    async def about() -> list[object]:
        info = task_info()
        assert info.deadline is not None
        return [info.max_attempts, round((info.deadline - datetime.now(UTC)).total_seconds())]

    work("fast")
    handle = await about.options(queue="fast", retries=1, timeout=20).queue()

    assert await handle.result(timeout=10) == [2, 20]
    assert (await handle.state()).queue == "fast"


async def test_many_are_enqueued_at_once_and_all_run(work: StartWorker) -> None:
    @task
    async def square(n: int) -> int:
        return n * n

    work()
    handles = await square.queue_many([{"n": n} for n in range(500)])

    assert [await handle.result(timeout=20) for handle in handles] == [n * n for n in range(500)]


async def test_sync_code_enqueues_and_waits(work: StartWorker, app: Client) -> None:
    @task
    async def add(a: int, b: int) -> int:
        return a + b

    work()

    def script() -> int:
        handle = add.queue_sync(1, b=2)
        assert handle.result_sync(timeout=10) == 3
        many = add.queue_many_sync([{"a": 1, "b": 1}, add.bind(2, 2)])
        assert [one.result_sync(timeout=10) for one in many] == [2, 4]
        return add.run_sync(20, 22)

    assert await asyncio.to_thread(script) == 42


async def test_a_rolled_back_transaction_enqueues_nothing(
    work: StartWorker, database: Database, database_url: str
) -> None:
    @task
    async def ship(order: int) -> int:
        return order

    work()
    async with await psycopg.AsyncConnection.connect(database_url) as connection:
        lost = await ship.options(connection=connection).queue(1)
        await connection.rollback()
        kept = await ship.options(connection=connection).queue(2)
        assert database.value("select count(*) from currant.executions") == 0
        await connection.commit()

    assert await kept.result(timeout=10) == 2
    with pytest.raises(currant.ExecutionNotFound):
        await lost.status()
    assert database.value("select count(*) from currant.executions") == 1


async def test_plain_sql_runs_a_task(work: StartWorker, database: Database) -> None:
    @task(queue="mail")
    async def send_email(to: str, copies: int = 1) -> str:
        return f"{to} x {copies}"

    work("mail")
    await database.eventually("select true from currant.functions where name = 'send_email'")
    by_name = database.value("""select currant.enqueue('send_email', '{"to": "a@b.c"}')""")
    by_position = database.value("""select currant.enqueue('send_email', '["d@e.f", 2]')""")

    await database.eventually("select count(*) = 2 from currant.outcomes")
    results = "select currant.result(%s)"
    assert database.value(results, by_name) == "a@b.c x 1"
    assert database.value(results, by_position) == "d@e.f x 2"


# --- Transactions


async def test_what_a_transactional_task_writes_is_committed_with_its_completion(
    work: StartWorker, database: Database
) -> None:
    database.rows("create table charges (amount integer)")

    @task(transactional=True, retries=1, retry_delay=0)
    async def charge(amount: int) -> str:
        connection = currant.connection()
        await connection.execute("insert into charges values (%s)", (amount,))
        if task_info().attempt == 1:
            raise RuntimeError("after writing")
        return "charged"

    work()
    handle = await charge.queue(5)

    assert await handle.result(timeout=10) == "charged"
    assert database.rows("select amount from charges") == [(5,)]
    assert (await handle.state()).attempt == 2


async def test_a_transactional_task_that_lost_its_lease_writes_nothing(
    work: StartWorker, database: Database
) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()
    database.rows("create table charges (attempt integer)")

    @task(transactional=True, retries=1, retry_delay=0)
    async def charge() -> int:
        attempt = task_info().attempt
        await currant.connection().execute("insert into charges values (%s)", (attempt,))
        if attempt == 1:
            begun.set()
            await go_on.wait()
        return attempt

    work(worker_heartbeat_interval=4.9)
    handle = await charge.queue()
    await asyncio.wait_for(begun.wait(), 10)
    # As the reaper does it, without waiting for it.
    database.rows(
        'select currant._lose_lease(l, \'{"type": "WorkerLost", "enforced": true}\', now())'
        " from currant.leases as l"
    )
    go_on.set()

    assert await handle.result(timeout=10) == 2
    assert database.rows("select attempt from charges") == [(2,)]


async def test_a_sync_task_can_be_transactional(work: StartWorker, database: Database) -> None:
    database.rows("create table charges (amount integer)")

    @task(transactional=True, retries=1, retry_delay=0)
    def charge(amount: int) -> str:
        currant.connection().execute("insert into charges values (%s)", (amount,))
        if task_info().attempt == 1:
            raise RuntimeError("after writing")
        return "charged"

    work()

    assert await asyncio.wait_for(charge.run(7), 10) == "charged"
    assert database.rows("select amount from charges") == [(7,)]


async def test_transactional_tasks_are_logged_as_completed_and_never_as_lost(
    work: StartWorker, caplog: pytest.LogCaptureFixture
) -> None:
    @task(transactional=True)
    async def charge(n: int) -> int:
        return n

    caplog.set_level("INFO", "currant")
    worker = work(worker_heartbeat_interval=0.01)
    handles = await charge.queue_many([{"n": n} for n in range(100)])
    for handle in handles:
        await handle.result(timeout=10)
    await worker.stop()

    assert caplog.text.count("completed charge") == 100
    assert "lost" not in caplog.text


# --- Tasks that wait for tasks


async def test_a_task_that_waits_for_a_task_lends_its_slot(work: StartWorker) -> None:
    @task
    async def depth(n: int) -> int:
        return 0 if n == 0 else 1 + await depth.run(n - 1)

    work(worker_max_concurrent=1)

    assert await asyncio.wait_for(depth.run(5), 20) == 5


async def test_a_sync_task_that_waits_for_a_task_lends_its_slot_too(work: StartWorker) -> None:
    @task
    def depth(n: int) -> int:
        return 0 if n == 0 else 1 + depth.run_sync(n - 1)

    work(worker_max_concurrent=1)

    assert await asyncio.wait_for(depth.run(3), 20) == 3


async def test_a_task_that_waits_for_a_handle_lends_its_slot(work: StartWorker) -> None:
    @task
    async def depth(n: int) -> int:
        if n == 0:
            return 0
        handle = await depth.queue(n - 1)
        return 1 + await handle.result()

    work(worker_max_concurrent=1)

    assert await asyncio.wait_for(depth.run(5), 20) == 5


async def test_a_sync_task_that_waits_for_a_handle_lends_its_slot_too(work: StartWorker) -> None:
    @task
    def depth(n: int) -> int:
        return 0 if n == 0 else 1 + depth.queue_sync(n - 1).result_sync()

    work(worker_max_concurrent=1)

    assert await asyncio.wait_for(depth.run(3), 20) == 3


async def test_an_async_task_that_would_block_the_worker_is_told_so(work: StartWorker) -> None:
    @task
    async def leaf() -> int:
        return 1

    @task(retries=0)
    async def blocking() -> int:
        return leaf.run_sync()

    @task(retries=0)
    async def blocking_later() -> int:
        return leaf.queue_sync().result_sync()

    work(worker_max_concurrent=2)

    for wrong in (blocking, blocking_later):
        with pytest.raises(ExecutionFailed, match="would block the event loop") as caught:
            await asyncio.wait_for(wrong.run(), 10)
        assert caught.value.type == "NotAllowedInLoop"


async def test_a_failure_of_a_task_that_was_waited_for_can_be_caught(work: StartWorker) -> None:
    @task(retries=0)
    async def fragile() -> None:
        raise ValueError("broken")

    @task
    async def robust() -> str:
        try:
            await fragile.run()
        except ExecutionFailed as error:
            return error.type
        return "whole"

    work(worker_max_concurrent=1)

    assert await asyncio.wait_for(robust.run(), 10) == "ValueError"

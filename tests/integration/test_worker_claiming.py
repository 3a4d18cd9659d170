"""What a worker takes, when, and how it hears of it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from currant import ExecutionFailed, Status, task
from tests.integration.conftest import StartWorker
from tests.support.worker_database import Database, eventually

LISTENING = "select count(*) from pg_stat_activity where query = 'listen currant_cancel'"


@task(name="claiming.echo")
async def echo(value: Any) -> Any:
    return value


@task(name="claiming.elsewhere", queue="elsewhere")
async def elsewhere() -> None: ...


async def test_it_serves_its_queues_and_no_other(work: StartWorker) -> None:
    work("a", "b")
    handles = [await echo.options(queue=queue).queue(queue) for queue in ("a", "b", "c")]

    assert await handles[0].result(timeout=10) == "a"
    assert await handles[1].result(timeout=10) == "b"
    assert await handles[2].status() is Status.PENDING
    assert (await handles[2].state()).waits_for == "a free worker on queue c"


async def test_its_queues_take_turns(work: StartWorker) -> None:
    order = []

    @task
    async def record(queue: str) -> None:
        order.append(queue)

    for queue in ("a", "b"):
        await record.options(queue=queue).queue_many([{"queue": queue}] * 10)
    work("a", "b", worker_max_concurrent=1)
    last = await record.options(queue="b").queue("end")
    await last.result(timeout=10)

    assert order.count("a") >= 9
    assert "ab" in "".join(order)
    assert "ba" in "".join(order)


async def test_no_more_tasks_run_at_a_time_than_it_may(work: StartWorker) -> None:
    running = most = 0

    @task
    async def count() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        running -= 1

    await count.queue_many([{} for _ in range(200)])
    last = await count.options(priority=-1).queue()
    work(worker_max_concurrent=3)
    await last.result(timeout=20)

    assert most == 3


async def test_all_slots_are_filled_although_a_claim_takes_half_of_them(work: StartWorker) -> None:
    running = 0
    all_run, go_on = asyncio.Event(), asyncio.Event()

    @task
    async def wait() -> None:
        nonlocal running
        running += 1
        if running == 101:
            all_run.set()
        await go_on.wait()

    handles = await wait.queue_many([{} for _ in range(150)])
    work(worker_max_concurrent=101)
    await asyncio.wait_for(all_run.wait(), 10)
    go_on.set()

    for handle in handles:
        await handle.result(timeout=10)
    assert running == 150


# --- Hearing of work


async def test_it_is_woken_by_a_notification(work: StartWorker, database: Database) -> None:
    """With a poll interval of an hour nothing but a notification can have brought it."""
    work(worker_poll_interval=3600)
    await database.eventually(LISTENING)
    await database.eventually("select true from currant.workers where waiting_until > now()")

    assert await echo.options(queue="default").run(1) == 1
    # Once it is asleep again.
    await database.eventually("select true from currant.workers where waiting_until > now()")
    assert await asyncio.wait_for(echo.run(2), 10) == 2


async def test_what_becomes_due_sooner_than_expected_wakes_it(
    work: StartWorker, database: Database
) -> None:
    work(worker_poll_interval=3600)
    await database.eventually(LISTENING)
    await database.eventually("select true from currant.workers where waiting_until > now()")

    handle = await echo.options(delay=0.3).queue("soon")

    assert await handle.result(timeout=10) == "soon"


async def test_without_listening_it_polls(work: StartWorker, database: Database) -> None:
    work(database_listen_url="off", worker_poll_interval=0.1)
    await database.eventually("select true from currant.workers")
    handles = [await echo.queue(n) for n in range(3)]

    assert [await handle.result(timeout=10) for handle in handles] == [0, 1, 2]
    assert database.value(LISTENING) == 0


async def test_it_works_through_a_transaction_pooler(work: StartWorker, database: Database) -> None:
    """Nothing is prepared, no session is relied on, and nobody listens."""
    work(database_prepare=False, worker_poll_interval=0.1)
    handles = await echo.queue_many([{"value": n} for n in range(50)])

    assert [await handle.result(timeout=10) for handle in handles] == list(range(50))
    assert database.value(LISTENING) == 0
    assert database.value("select count(*) from pg_prepared_statements") == 0


async def test_work_of_a_worker_that_died_is_done_although_the_poll_is_far_off(
    work: StartWorker, database: Database
) -> None:
    handle = await echo.queue("mine now")
    database.rows(
        """
        select currant.register_worker('{"id": "00000000-0000-7000-8000-000000000001",
            "queues": ["default"], "heartbeat_timeout": 0.5}')
        """
    )
    claim = (
        "select function from currant.claim('00000000-0000-7000-8000-000000000001', '{default}', 1)"
    )
    assert database.value(claim) == "claiming.echo"
    database.rows("update currant.executions set retry_delay = '0'")

    work(worker_poll_interval=3600, worker_heartbeat_timeout=0.5)

    assert await handle.result(timeout=15) == "mine now"
    assert (await handle.state()).attempt == 2


async def test_a_false_alarm_of_the_heartbeat_costs_nothing(
    work: StartWorker, database: Database
) -> None:
    """It may beat before it is registered, and hears that nobody knows it."""
    begun, go_on = asyncio.Event(), asyncio.Event()

    @task(retries=0)
    async def wait() -> str:
        begun.set()
        await go_on.wait()
        return "undisturbed"

    worker = work()
    handle = await wait.queue()
    await asyncio.wait_for(begun.wait(), 10)

    worker.worker.declared_dead()
    assert await echo.options(queue="default").run("alive") == "alive"
    go_on.set()

    assert await handle.result(timeout=10) == "undisturbed"
    assert database.value("select count(*) from currant.workers") == 1


# --- Functions it does not know


async def test_an_unknown_task_is_given_back_until_somebody_knows_it(
    work: StartWorker, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "currant")
    execution = database.value(
        "select currant.enqueue('taught_later', '{}', '{\"queue\": \"default\"}')"
    )
    work()
    await database.eventually("select true from currant.delayed where kind = 'release'")

    waits_for = database.value("select waits_for from currant.execution_status")
    assert waits_for == "a worker that knows the task taught_later"
    await eventually(lambda: f"gave back taught_later {execution}" in caplog.text)

    @task
    async def taught_later() -> str:
        return "here"

    # Long before it would be tried again by itself.
    database.rows("update currant.delayed set due_at = now() + interval '1 hour'")
    work()
    await database.eventually("select true from currant.outcomes")
    assert database.value("select currant.result(%s)", execution) == "here"
    assert database.value("select attempt from currant.outcomes") == 1
    assert database.rows("select * from currant.attempts") == []


async def test_a_task_of_a_newer_version_is_left_alone(
    work: StartWorker, database: Database
) -> None:
    work()
    handle = await echo.options(version=7).queue("new")
    await database.eventually("select true from currant.delayed where kind = 'release'")

    assert (await handle.state()).waits_for == "a worker that has version 7 of claiming.echo"
    assert (await handle.state()).attempt == 1


# --- Bad data


@pytest.mark.parametrize("spoilt", [0, 2, 4], ids=["first", "middle", "last"])
async def test_a_result_the_database_refuses_does_not_spoil_its_batch(
    work: StartWorker, database: Database, caplog: pytest.LogCaptureFixture, spoilt: int
) -> None:
    """The worker's own check knows another limit than the database now has."""
    caplog.set_level("INFO", "currant")
    gate = asyncio.Event()

    @task(retries=3)
    async def fill(size: int) -> str:
        await gate.wait()
        return "x" * size

    worker = work()
    sizes = [50_000 if index == spoilt else index for index in range(5)]
    handles = await fill.queue_many([{"size": size} for size in sizes])
    await database.eventually("select count(*) = 5 from currant.leases")
    database.rows("update currant.configuration set max_payload_bytes = 1000")
    gate.set()

    for index, handle in enumerate(handles):
        if index == spoilt:
            with pytest.raises(ExecutionFailed, match="result"):
                await handle.result(timeout=10)
            assert (await handle.state()).attempt == 1
        else:
            assert await handle.result(timeout=10) == "x" * index
    # And every one of them is over for the worker as well.
    assert await worker.stop() == 0
    assert caplog.text.count("completed fill") == 4
    assert caplog.text.count("failed fill") == 1


async def test_a_refusal_that_has_nothing_to_do_with_a_report_fails_none(
    work: StartWorker, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """While a function is missing, as in the middle of a migration, results are kept."""
    gate = asyncio.Event()

    @task(retries=0)
    async def wait() -> str:
        await gate.wait()
        return "kept"

    work()
    handle = await wait.queue()
    await database.eventually("select true from currant.leases")
    arguments = "(uuid, uuid[], bigint[], jsonb[])"
    database.rows(f"alter function currant.complete_many{arguments} rename to away")
    gate.set()
    await eventually(lambda: "the database refused" in caplog.text)
    database.rows(f"alter function currant.away{arguments} rename to complete_many")

    assert await handle.result(timeout=10) == "kept"
    assert (await handle.state()).attempt == 1


async def test_a_report_that_has_to_wait_survives_a_lost_connection(
    work: StartWorker, database: Database, database_url: str
) -> None:
    """It is neither forgotten nor is the task run again."""
    gate = asyncio.Event()
    ran: list[None] = []

    @task(retries=0)
    async def once() -> str:
        ran.append(None)
        await gate.wait()
        return "in the end"

    worker = work()
    handle = await once.queue()
    await database.eventually("select true from currant.leases")
    holder = Database(database_url)
    holder.rows("begin")
    holder.rows("select from currant.leases for update")
    gate.set()
    await eventually(lambda: worker.worker._engine._postponed)
    database.rows(
        "select pg_terminate_backend(pid) from pg_stat_activity"
        " where application_name = 'currant worker' and datname = current_database()"
    )
    await database.eventually(
        "select count(*) >= 2 from pg_stat_activity"
        " where application_name = 'currant worker' and datname = current_database()"
    )
    assert await echo.options(queue="default").run("alive") == "alive"
    holder.rows("commit")
    holder.close()

    assert await handle.result(timeout=10) == "in the end"
    assert len(ran) == 1


async def test_a_report_whose_row_somebody_holds_keeps_nothing_else_waiting(
    work: StartWorker, database: Database, database_url: str
) -> None:
    gate = asyncio.Event()

    @task
    async def wait() -> str:
        await gate.wait()
        return "in the end"

    work()
    handle = await wait.queue()
    await database.eventually("select true from currant.leases")
    holder = Database(database_url)
    holder.rows("begin")
    holder.rows("select from currant.leases for update")
    gate.set()
    # Other work goes on meanwhile.
    for value in range(20):
        assert await asyncio.wait_for(echo.run(value), 10) == value
    holder.rows("commit")
    holder.close()

    assert await handle.result(timeout=10) == "in the end"

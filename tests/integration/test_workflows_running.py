"""Workflows on a real worker, with its cache and with a replay at every wake-up."""

from __future__ import annotations

import asyncio
import logging
import threading
import traceback
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest

import currant
from currant import (
    Cancelled,
    Client,
    ExecutionFailed,
    Handle,
    SideEffectFailed,
    Status,
    TaskFailed,
    get_version,
    info,
    send_signal,
    side_effect,
    task,
    wait_condition,
    wait_for_signal,
    workflow,
    workflow_threads,
)
from tests.integration.conftest import StartWorker
from tests.integration.flows import Endless, events, make_due, waits_for
from tests.support.worker_database import Database, eventually


@task(name="flows.add", queue="flows", retry_delay=0)
async def add(a: int, b: int) -> int:
    return a + b


@task(name="flows.sleepy", queue="flows")
def sleepy(value: str) -> str:
    return value


# --- Steps


async def test_step_follows_step_and_the_result_comes_back(
    work: StartWorker, cache: int, database: Database
) -> None:
    @workflow(queue="flows")
    async def climb(steps: int) -> int:
        height = 0
        for step in range(steps):
            height = await add.run(height, b=step)
        return height

    work("flows", worker_workflow_cache=cache)
    handle = await climb.queue(10)

    assert await handle.result(timeout=20) == sum(range(10))
    assert events(database, handle) == ["started"] + ["task_completed"] * 10


async def test_what_led_to_an_error_in_two_ways_is_told_up_to_the_client(
    work: StartWorker, cache: int
) -> None:
    async def clean_up_and_tell(doing: Any) -> None:
        try:
            try:
                await doing
            except Exception:
                raise ValueError("in between")  # noqa: B904
        except ValueError:
            try:
                raise KeyError("of the clean-up")
            except KeyError as error:
                found = error
            raise RuntimeError("all of it") from found

    @task(queue="flows", retries=0)
    async def broken() -> None:
        await clean_up_and_tell(asyncio.wait_for(asyncio.Event().wait(), 0.01))

    @workflow(queue="flows")
    async def inner() -> None:
        await clean_up_and_tell(broken.run())

    @workflow(queue="flows")
    async def outer() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(inner.run())

    work("flows", worker_workflow_cache=cache)
    with pytest.raises(ExecutionFailed) as caught:
        await (await outer.queue()).result(timeout=20)

    error: currant.RemoteError | None = caught.value
    chain = []
    while error is not None:
        chain.append((type(error).__name__, error.function, error.type))
        error = error.cause
    assert chain == [
        ("ExecutionFailed", "outer", "ExceptionGroup"),
        ("ChildFailed", "inner", "RuntimeError"),
        ("TaskFailed", "broken", "RuntimeError"),
    ]


async def test_a_gather_runs_its_tasks_together(work: StartWorker, cache: int) -> None:
    meeting = threading.Barrier(3)

    @task(queue="flows")
    def meet(name: str) -> str:
        meeting.wait(10)
        return name

    @workflow(queue="flows")
    async def party() -> list[str]:
        return await asyncio.gather(*(meet.run(name) for name in "abc"))

    work("flows", worker_workflow_cache=cache)

    assert await asyncio.wait_for(party.run(), 20) == ["a", "b", "c"]


async def test_a_sleep_is_a_timer_in_the_database(
    work: StartWorker, cache: int, database: Database
) -> None:
    @workflow(queue="flows")
    async def nap() -> float:
        before = currant.now()
        await asyncio.sleep(3600)
        await asyncio.sleep(0.01)
        return (currant.now() - before).total_seconds()

    work("flows", worker_workflow_cache=cache)
    handle = await nap.queue()
    await waits_for(database, "timer")

    assert await handle.status() is Status.SUSPENDED
    due = (await handle.state()).due_at
    assert due is not None
    state = await handle.state()
    assert state.started_at is not None
    assert timedelta(minutes=59) < due - state.started_at < timedelta(minutes=61)
    make_due(database)
    assert await handle.result(timeout=10) > 0


async def test_signals_come_in_order_also_those_that_came_early(
    work: StartWorker, cache: int, database: Database
) -> None:
    @workflow(queue="flows")
    async def collect() -> list[object]:
        await add.run(1, 1)
        found = [await wait_for_signal("item") for _ in range(3)]
        return [*found, await wait_for_signal("end")]

    handle = await collect.queue()
    await send_signal(handle, "end", {"by": "me"})
    await send_signal(handle, "item", 1)
    work("flows", worker_workflow_cache=cache)
    await waits_for(database, "signal item")
    await handle.signal("item", 2)
    await asyncio.to_thread(handle.signal_sync, "item", 3)

    assert await handle.result(timeout=10) == [1, 2, 3, {"by": "me"}]


async def test_a_signal_that_does_not_come_in_time_raises(
    work: StartWorker, cache: int, database: Database
) -> None:
    @workflow(queue="flows")
    async def approval() -> str:
        try:
            await wait_for_signal("approved", timeout=86400)
        except TimeoutError:
            return await sleepy.run("gave up")
        return "approved"

    work("flows", worker_workflow_cache=cache)
    handle = await approval.queue()
    await waits_for(database, "signal approved")
    make_due(database)

    assert await handle.result(timeout=10) == "gave up"
    with pytest.raises(currant.AlreadyEnded):
        await handle.signal("approved")


async def test_more_workflows_wait_than_are_kept_in_memory(
    work: StartWorker, cache: int, database: Database
) -> None:
    @workflow(queue="flows")
    async def patient(n: int) -> int:
        before = await add.run(n, 0)
        return before + int(await wait_for_signal("more"))

    work("flows", worker_workflow_cache=min(cache, 3))
    handles = await patient.queue_many([{"n": n} for n in range(20)])
    await database.eventually(
        "select count(*) = 20 from currant.execution_status where waits_for like '%%signal more%%'"
    )
    for handle in handles:
        await handle.signal("more", 100)

    assert [await handle.result(timeout=10) for handle in handles] == list(range(100, 120))


async def test_workers_take_turns_on_a_workflow_and_none_trusts_its_memory(
    work: StartWorker, cache: int, database: Database
) -> None:
    @workflow(queue="flows")
    async def climb(steps: int) -> int:
        height = 0
        for step in range(steps):
            lower, upper = await asyncio.gather(add.run(height, step), add.run(height, 2 * step))
            height = upper - lower
        return height

    for _ in range(3):
        work("flows", worker_workflow_cache=cache)
    handles = await climb.queue_many([{"steps": steps} for steps in range(1, 11)])

    assert [await handle.result(timeout=20) for handle in handles] == list(range(10))
    errors = "select count(*) from currant.attempts"
    assert database.value(errors) == 0


# --- Failures


async def test_a_failed_task_is_an_exception_in_the_workflow(work: StartWorker, cache: int) -> None:
    @task(queue="flows", retries=1, retry_delay=0)
    async def charge() -> None:
        raise ValueError("no cover")

    @workflow(queue="flows")
    async def order() -> list[object]:
        try:
            await charge.run()
        except TaskFailed as error:
            is_complete = "raise ValueError" in (error.traceback or "")
            return [error.type, error.reason, error.attempts, is_complete, await add.run(1, 2)]
        return []

    work("flows", worker_workflow_cache=cache)

    found = await asyncio.wait_for(order.run(), 10)
    assert found == ["ValueError", "no cover", 2, True, 3]


async def test_a_task_that_times_out_fails_as_a_task_does(work: StartWorker, cache: int) -> None:
    @task(queue="flows")
    async def hang() -> None:
        await asyncio.Event().wait()

    @workflow(queue="flows")
    async def hurry() -> str:
        try:
            await hang.options(timeout=0.1, retries=0).run()
        except TaskFailed as error:
            return error.type
        return ""

    work("flows", worker_workflow_cache=cache)

    assert await asyncio.wait_for(hurry.run(), 10) == "Timeout"


async def test_an_exception_fails_the_workflow(work: StartWorker, cache: int) -> None:
    @workflow(queue="flows")
    async def broken() -> None:
        await add.run(1, 1)
        raise KeyError("oops")

    work("flows", worker_workflow_cache=cache)
    handle = await broken.queue()

    with pytest.raises(ExecutionFailed, match="KeyError: 'oops'") as caught:
        await handle.result(timeout=10)
    assert 'raise KeyError("oops")' in (caught.value.traceback or "")


async def test_what_a_workflow_returns_that_is_no_json_fails_it(
    work: StartWorker, cache: int
) -> None:
    @workflow(queue="flows")
    async def secretive() -> object:
        return object()

    work("flows", worker_workflow_cache=cache)
    handle = await secretive.queue()

    with pytest.raises(ExecutionFailed, match="EncodingError"):
        await handle.result(timeout=10)


async def test_a_workflow_out_of_its_time_fails_and_its_task_with_it(
    work: StartWorker, cache: int, database: Database, endless: Endless
) -> None:
    @workflow(queue="flows", timeout=0.5)
    async def limited() -> None:
        await endless.run()

    work("flows", worker_workflow_cache=cache, worker_heartbeat_timeout=0.5)
    handle = await limited.queue()
    await endless.begun()

    with pytest.raises(ExecutionFailed, match="Timeout"):
        await handle.result(timeout=15)
    await endless.stopped()
    statuses = "select array_agg(status order by status) from currant.outcomes"
    assert await database.eventually(f"{statuses} having count(*) = 2") == ["cancelled", "failed"]


# --- Cancellation


async def test_cancelling_a_workflow_stops_it_and_its_open_tasks(
    work: StartWorker, cache: int, database: Database, endless: Endless
) -> None:
    @workflow(queue="flows")
    async def waiting() -> None:
        await asyncio.gather(endless.run(), add.options(delay=3600).run(1, 2))

    work("flows", worker_workflow_cache=cache)
    handle = await waiting.queue()
    await endless.begun()
    await handle.cancel("changed my mind")

    with pytest.raises(Cancelled, match="changed my mind"):
        await handle.result(timeout=10)
    await endless.stopped()
    statuses = "select array_agg(distinct status) from currant.outcomes having count(*) = 3"
    assert await database.eventually(statuses) == ["cancelled"]


async def test_a_workflow_that_nobody_has_begun_is_cancelled_at_once(
    app: Client, cache: int
) -> None:
    @workflow(queue="flows")
    async def never() -> None: ...

    handle = await never.queue()

    assert await handle.cancel() is Status.CANCELLED


async def test_an_enforced_cancel_asks_neither_the_workflow_nor_its_task(
    work: StartWorker, cache: int, database: Database, endless: Endless
) -> None:
    @workflow(queue="flows")
    async def stubborn() -> None:
        while True:
            try:
                await endless.run()
            except asyncio.CancelledError:
                continue

    work("flows", worker_workflow_cache=cache)
    handle = await stubborn.queue()
    await endless.begun()
    await handle.cancel("now", force=True)

    with pytest.raises(Cancelled, match="now"):
        await handle.result(timeout=10)
    await endless.stopped()
    assert database.rows("select * from currant.leases") == []


# --- Other code


async def test_a_run_keeps_the_branch_it_was_on_and_new_ones_take_the_new(
    work: StartWorker, cache: int, database: Database
) -> None:
    @workflow(name="order", queue="flows", version=1)
    async def order_1() -> list[str]:
        first = await sleepy.run("charge")
        await wait_for_signal("go")
        return [first, await sleepy.run("receipt")]

    worker = work("flows", worker_workflow_cache=cache)
    # Recorded nothing, since it had no call.
    old = await order_1.queue()
    await waits_for(database, "signal go")
    await worker.stop()

    @workflow(name="order", queue="flows", version=2)
    async def order_2() -> list[str]:
        steps = []
        if get_version("check", 1, 2) >= 2:
            steps.append(await sleepy.run("check"))
        steps.append(await sleepy.run("charge"))
        await wait_for_signal("go")
        if get_version("sms", 1, 2) >= 2:
            steps.append(await sleepy.run("sms"))
        return [*steps, await sleepy.run("receipt")]

    work("flows", worker_workflow_cache=cache)
    new = await order_2.queue()
    await database.eventually(
        "select count(*) = 2 from currant.execution_status where waits_for like '%%signal go%%'"
    )
    await old.signal("go")
    await new.signal("go")

    # It was past the first place when that was added, but not yet at the second.
    assert await old.result(timeout=10) == ["charge", "sms", "receipt"]
    assert await new.result(timeout=10) == ["check", "charge", "sms", "receipt"]


async def test_code_that_does_not_follow_its_history_is_blocked_until_it_does(
    work: StartWorker, cache: int, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    @workflow(name="order", queue="flows")
    async def good() -> int:
        total = await add.run(1, 2)
        await wait_for_signal("go")
        return await add.run(total, 3)

    worker = work("flows", worker_workflow_cache=cache)
    handle = await good.queue()
    await waits_for(database, "signal go")
    await worker.stop()

    @workflow(name="order", queue="flows")
    async def bad() -> str:
        return await sleepy.run("something else")

    worker = work("flows", worker_workflow_cache=cache)
    await handle.signal("go")
    await waits_for(database, "blocked: ")
    state = await handle.state()
    assert state.status is Status.BLOCKED
    assert state.waits_for is not None
    assert "flows.add" in state.waits_for
    assert "flows.sleepy" in state.waits_for
    await eventually(lambda: "does not follow its history at event 1" in caplog.text)
    # It costs the others nothing.
    assert await asyncio.wait_for(add.run(1, 1), 10) == 2
    await worker.stop()

    @workflow(name="order", queue="flows")
    async def mended() -> int:
        total = await add.run(1, 2)
        await wait_for_signal("go")
        return await add.run(total, 3)

    work("flows", worker_workflow_cache=cache)
    assert await handle.result(timeout=10) == 6


async def test_a_wait_that_nothing_can_end_is_blocked_and_can_be_cancelled(
    work: StartWorker, cache: int, database: Database
) -> None:
    @workflow(queue="flows")
    async def stuck() -> None:
        await add.run(1, 1)
        await asyncio.Event().wait()

    work("flows", worker_workflow_cache=cache)
    handle = await stuck.queue()
    await waits_for(database, "blocked: deadlock")

    assert await handle.cancel("hopeless") is Status.CANCELLED


async def test_a_busy_loop_is_reported_and_stopped_while_others_go_on(
    work: StartWorker, cache: int, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    spinning = threading.Event()

    @workflow(queue="flows")
    async def spin() -> None:
        spinning.set()
        while True:
            pass

    @workflow(queue="flows")
    async def healthy() -> int:
        return await add.run(1, await add.run(2, 3))

    work(
        "flows",
        worker_workflow_cache=cache,
        worker_deadlock_warning=0.2,
        worker_deadlock_timeout=1.0,
    )
    bad = await spin.queue()
    await asyncio.to_thread(spinning.wait, 10)

    assert await asyncio.wait_for(healthy.run(), 10) == 6
    await waits_for(database, "blocked: ")
    assert "has not given way for" in caplog.text
    assert "in spin" in caplog.text
    assert await bad.status() is Status.BLOCKED


async def test_code_that_blocks_outside_python_keeps_no_other_workflow_from_running(
    work: StartWorker,
    cache: int,
    database: Database,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    entered = threading.Event()
    released = threading.Event()
    monkeypatch.setattr(workflow_threads, "_INTERRUPT_GRACE", 0.1)
    monkeypatch.setattr(workflow_threads, "_MOST_HUNG", 0)

    @workflow(queue="flows")
    async def hanging() -> None:
        entered.set()
        while not released.is_set():
            with suppress(BaseException):
                released.wait()

    @workflow(queue="flows")
    async def healthy() -> int:
        return await add.run(1, await add.run(2, 3))

    worker = work("flows", worker_workflow_cache=cache, worker_deadlock_timeout=1.0)
    try:
        bad = await hanging.queue()
        await asyncio.to_thread(entered.wait, 10)
        assert await asyncio.wait_for(healthy.run(), 10) == 6
        await waits_for(database, "could not be stopped")
        assert await bad.status() is Status.BLOCKED

        # One thread is too many here.
        assert await asyncio.wait_for(worker.ended, 20) == 1
        assert "1 threads of workflows hang" in caplog.text
        work("flows", worker_workflow_cache=cache)
        assert await asyncio.wait_for(healthy.run(), 10) == 6
    finally:
        released.set()


# --- Who takes it


async def test_a_workflow_nobody_knows_waits_for_a_worker_that_does(
    work: StartWorker, cache: int, database: Database
) -> None:
    other = 'select currant.enqueue(\'later\', \'{}\', \'{"queue": "flows", "kind": "workflow"}\')'
    work("flows", worker_workflow_cache=cache)
    execution = database.value(other)
    await waits_for(database, "a worker that knows the workflow later")

    @workflow(queue="flows")
    async def later() -> str:
        return "now"

    work("flows", worker_workflow_cache=cache)
    await database.eventually("select true from currant.outcomes")
    assert database.value("select currant.result(%s)", execution) == "now"


async def test_a_newer_version_is_left_to_newer_workers(
    work: StartWorker, cache: int, database: Database
) -> None:
    @workflow(name="order", queue="flows", version=1)
    async def old() -> int:
        raise AssertionError

    work("flows", worker_workflow_cache=cache)
    handle = await old.options(version=2).queue()
    await waits_for(database, "version 2 of order")

    @workflow(name="order", queue="flows", version=2)
    async def new() -> int:
        return 2

    work("flows", worker_workflow_cache=cache)
    assert await handle.result(timeout=10) == 2
    assert database.rows("select * from currant.attempts") == []


async def test_tasks_without_a_queue_go_to_their_workflows(work: StartWorker, cache: int) -> None:
    @task
    async def homeless() -> str:
        return "found one"

    @workflow(queue="flows")
    async def host() -> str:
        return await homeless.run()

    work("flows", worker_workflow_cache=cache)

    assert await asyncio.wait_for(host.run(), 10) == "found one"


async def test_signals_and_executions_sent_by_a_workflow_arrive(
    work: StartWorker, cache: int
) -> None:
    @workflow(queue="flows")
    async def receiver() -> object:
        return await wait_for_signal("news")

    @workflow(queue="flows")
    async def sender(to: str) -> str:
        await send_signal(to, "news", [1, 2])
        return str(await add.queue(20, 22))

    work("flows", worker_workflow_cache=cache)
    receiving = await receiver.queue()
    independent: currant.Handle[int] = currant.Handle(
        await asyncio.wait_for(sender.run(receiving), 10)
    )

    assert await receiving.result(timeout=10) == [1, 2]
    assert await independent.result(timeout=10) == 42


# --- What authors call


async def test_a_side_effect_happens_once_however_often_it_is_replayed(
    work: StartWorker, cache: int
) -> None:
    calls: list[str] = []

    def read(name: str) -> str:
        calls.append(name)
        if name == "missing":
            raise OSError("no such setting")
        return f"{name} {len(calls)}"

    @workflow(queue="flows")
    async def flow() -> list[Any]:
        found: list[Any] = [side_effect(lambda: read("first"))]
        await add.run(1, 1)
        try:
            side_effect(lambda: read("missing"))
        except SideEffectFailed as error:
            found += [error.type, error.reason]
        await add.run(1, 1)
        return [*found, side_effect(lambda: read("last"))]

    work("flows", worker_workflow_cache=cache)

    found = await asyncio.wait_for(flow.run(), 10)
    assert found == ["first 1", "OSError", "no such setting", "last 3"]
    assert calls == ["first", "missing", "last"]


async def test_a_workflow_knows_about_itself(work: StartWorker, cache: int) -> None:
    replaying: list[bool] = []

    @workflow(queue="flows", version=3)
    async def flow() -> list[Any]:
        replaying.append(info().is_replaying)
        await add.run(1, 1)
        replaying.append(info().is_replaying)
        own = info()
        return [own.id, own.root_id, own.function, own.version, own.queue, own.headers]

    work("flows", worker_workflow_cache=cache)
    handle = await flow.options(headers={"trace": "x"}).queue()

    expected = [handle, handle, "flow", 3, "flows", {"trace": "x"}]
    assert await handle.result(timeout=10) == expected
    assert replaying == ([False, False] if cache else [False, True, False])


async def test_a_condition_that_does_not_come_true_times_out(
    work: StartWorker, cache: int, database: Database
) -> None:
    @workflow(queue="flows")
    async def flow() -> str:
        done: list[int] = []
        try:
            await wait_condition(lambda: bool(done), timeout=timedelta(hours=1))
        except TimeoutError:
            done.append(await add.run(1, 1))
        await wait_condition(lambda: bool(done))
        return f"{done}"

    work("flows", worker_workflow_cache=cache)
    handle = await flow.queue()
    await waits_for(database, "condition")
    make_due(database)

    assert await handle.result(timeout=10) == "[2]"


async def test_a_failed_group_tells_of_each_of_its_members(work: StartWorker, cache: int) -> None:
    @task(queue="flows", retries=0)
    async def charge(amount: int) -> None:
        raise ValueError(f"no cover for {amount}")

    @workflow(queue="flows")
    async def order() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(charge.run(7))

    work("flows", worker_workflow_cache=cache)
    handle = await order.queue()

    with pytest.raises(ExecutionFailed, match="ExceptionGroup") as caught:
        await handle.result(timeout=10)
    printed = "".join(traceback.format_exception(caught.value))
    assert printed.count('raise ValueError(f"no cover') == 1
    assert "charge" in printed


async def test_the_applications_own_handlers_hear_everything_once(
    work: StartWorker, cache: int, request: pytest.FixtureRequest
) -> None:
    class Shown(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            shown.append(record.getMessage())

    shown: list[str] = []
    logger = logging.getLogger("flows.of_the_application")
    handler = Shown()
    logger.addHandler(handler)
    request.addfinalizer(lambda: logger.removeHandler(handler))

    @workflow(queue="flows")
    async def talk() -> None:
        for number in range(3):
            logger.warning("step %d", number)
            await add.run(number, 1)

    work("flows", worker_workflow_cache=cache)
    await (await talk.queue()).result(timeout=10)

    assert shown == ["step 0", "step 1", "step 2"]


async def test_what_is_sent_to_nobody_is_dropped(work: StartWorker, cache: int) -> None:
    @workflow(queue="flows")
    async def writes() -> int:
        nobody = Handle(currant.uuid4())
        await nobody.signal("hello")
        await nobody.cancel()
        await send_signal((add_up, "nobody"), "hello")
        return await add.run(1, 1)

    @workflow(queue="flows")
    async def add_up() -> None: ...

    work("flows", worker_workflow_cache=cache)

    assert await (await writes.queue()).result(timeout=10) == 2

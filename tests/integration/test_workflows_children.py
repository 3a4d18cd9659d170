"""Workflows that run, wait for, and cancel other workflows, on a real worker."""

from __future__ import annotations

import asyncio
import re
import traceback
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from currant import (
    Cancelled,
    ChildFailed,
    ExecutionFailed,
    ExecutionNotFound,
    Handle,
    RemoteError,
    Status,
    TaskFailed,
    info,
    task,
    uuid4,
    wait_for_signal,
    workflow,
)
from tests.integration.conftest import StartWorker
from tests.integration.flows import Endless, commands, events, make_due, waits_for
from tests.support.worker_database import Database


@task(name="children.add", queue="flows")
async def add(a: int, b: int) -> int:
    return a + b


@task(name="children.charge", queue="flows", retries=1, retry_delay=0)
async def charge(amount: int) -> None:
    raise ValueError(f"no cover for {amount}")


@workflow(name="children.pay", queue="flows")
async def pay(amount: int) -> None:
    await charge.run(amount)


@workflow(name="children.double", queue="flows")
async def double(number: int) -> int:
    return await add.run(number, number)


@workflow(name="children.wait", queue="flows")
async def wait(name: str) -> str:
    return str(await wait_for_signal(name))


def row_of(database: Database, function: str) -> Any:
    [row] = database.rows(
        "select * from currant.execution_status where function = %s order by id", function
    )
    return row


async def ended(database: Database, function: str, status: str) -> Any:
    """Until an execution of the function has ended so; its row."""
    await database.eventually(
        "select true from currant.execution_status where function = %s and outcome = %s",
        function,
        status,
    )
    return row_of(database, function)


# --- Results


async def test_a_child_is_run_and_its_result_comes_back(
    work: StartWorker, cache: int, database: Database
) -> None:
    @workflow(queue="flows")
    async def moment(day: int) -> datetime:
        return datetime(2026, 1, await add.run(day, 1), tzinfo=UTC)

    @workflow(queue="flows")
    async def parent() -> bool:
        found = await moment.run(3)
        return found == datetime(2026, 1, 4, tzinfo=UTC)

    work("flows", worker_workflow_cache=cache)
    handle = await parent.queue()

    assert await handle.result(timeout=10) is True
    assert events(database, handle) == ["started", "child_completed"]
    child = row_of(database, "moment")
    assert (str(child.parent_id), str(child.root_id)) == (handle, handle)


async def test_children_run_side_by_side_and_have_children_of_their_own(
    work: StartWorker, cache: int, database: Database
) -> None:
    @workflow(queue="flows")
    async def sum_up(depth: int) -> int:
        if depth == 0:
            return await add.run(1, 0)
        return sum(await asyncio.gather(*(sum_up.run(depth - 1) for _ in range(3))))

    work("flows", worker_workflow_cache=cache)
    handle = await sum_up.queue(3)

    assert await handle.result(timeout=30) == 27
    tree = "select max(depth), count(*) from currant.tree(%s)"
    [(depth, count)] = database.rows(tree, handle)
    assert (depth, count) == (4, 1 + 3 + 9 + 27 + 27)


async def test_a_child_goes_to_its_own_queue_or_else_to_its_parents(
    work: StartWorker, cache: int
) -> None:
    @workflow
    async def homeless() -> str:
        return info().queue

    @workflow(queue="homes")
    async def settled() -> str:
        return info().queue

    @workflow(queue="flows")
    async def parent() -> list[str]:
        children = (homeless, settled, homeless.options(queue="homes"))
        return [await child.run() for child in children]

    work("flows", "homes", worker_workflow_cache=cache)

    assert await asyncio.wait_for(parent.run(), 10) == ["flows", "homes", "homes"]


async def test_a_workflow_waiting_for_a_child_uses_up_no_time_of_its_own(
    work: StartWorker, cache: int, database: Database
) -> None:
    @workflow(queue="flows", timeout=1)
    async def parent() -> str:
        return await wait.run("go")

    work("flows", worker_workflow_cache=cache)
    handle = await parent.queue()
    await waits_for(database, "signal go")
    active = "select active_since from currant.workflows where execution_id = %s"

    assert await database.eventually(
        f"select not exists ({active} and active_since is not null)", handle
    )
    await wait_child(database).signal("go", "done")
    assert await handle.result(timeout=10) == "done"


def wait_child(database: Database) -> Handle[str]:
    return Handle(row_of(database, "children.wait").id)


# --- Failures


async def test_a_failure_is_followed_from_the_client_to_the_task(
    work: StartWorker, cache: int
) -> None:
    @workflow(queue="flows")
    async def shop() -> None:
        await pay.run(7)

    work("flows", worker_workflow_cache=cache)
    handle = await shop.queue()

    with pytest.raises(ExecutionFailed, match=r"shop .* failed: ValueError: no cover") as caught:
        await handle.result(timeout=10)

    chain = walk(caught.value)
    assert [type(each) for each in chain] == [ExecutionFailed, ChildFailed, TaskFailed]
    assert [each.function for each in chain] == ["shop", "children.pay", "children.charge"]
    assert {(each.type, each.reason) for each in chain} == {("ValueError", "no cover for 7")}
    assert [each.attempts for each in chain] == [1, 1, 2]
    # Of each, the lines of its author, and none of Currant's own.
    for each in chain:
        frames = re.findall(r'File "(.*)"', each.traceback or "")
        assert [Path(frame).name for frame in frames] == [Path(__file__).name]
    printed = "".join(traceback.format_exception(caught.value))
    for once in ('raise ValueError(f"no', "in charge", "in pay", "in shop", "await pay.run(7)"):
        assert printed.count(once) == 1, printed
    for each in chain:
        assert printed.count(f"{each.function} {each.execution_id} failed") == 1, printed


def walk(error: RemoteError | None) -> list[RemoteError]:
    found = []
    while error is not None:
        found.append(error)
        error = error.cause
    return found


async def test_an_error_looks_the_same_live_and_replayed(
    work: StartWorker, database: Database
) -> None:
    seen: list[str] = []

    @workflow(queue="flows")
    async def shop() -> str:
        try:
            await pay.run(7)
        except ChildFailed as error:
            seen.append("".join(traceback.format_exception(error)))
        await wait_for_signal("go")
        return "done"

    work("flows", worker_workflow_cache=0)
    handle = await shop.queue()
    await waits_for(database, "signal go")
    await handle.signal("go")
    await handle.result(timeout=10)

    live, *replayed = seen
    assert replayed
    assert set(replayed) == {live}
    assert 'raise ValueError(f"no cover' in live


async def test_a_failure_at_the_bottom_of_many_children_is_not_lost(
    work: StartWorker, cache: int
) -> None:
    @workflow(queue="flows")
    async def dig(depth: int) -> None:
        await (dig.run(depth - 1) if depth else charge.run(depth))

    work("flows", worker_workflow_cache=cache)
    handle = await dig.queue(19)

    with pytest.raises(ExecutionFailed, match="ValueError: no cover for 0") as caught:
        await handle.result(timeout=40)

    chain = walk(caught.value)
    # The chain is bounded; both of its ends are kept.
    assert len(chain) == 17
    assert chain[-1].function == "children.charge"
    assert 'raise ValueError(f"no cover' in (chain[-1].traceback or "")


async def test_a_childs_failure_can_be_caught(work: StartWorker, cache: int) -> None:
    @workflow(queue="flows")
    async def shop() -> list[Any]:
        try:
            await pay.run(7)
        except ChildFailed as error:
            cause = error.cause.function if error.cause else None
            return [error.type, error.status, cause, await double.run(4)]
        return []

    work("flows", worker_workflow_cache=cache)

    found = await asyncio.wait_for(shop.run(), 10)
    assert found == ["ValueError", "failed", "children.charge", 8]


async def test_a_child_that_is_cancelled_by_somebody_else_has_failed(
    work: StartWorker, cache: int, database: Database
) -> None:
    @workflow(queue="flows")
    async def parent() -> list[Any]:
        try:
            await wait.run("never")
        except ChildFailed as error:
            return [error.status, error.reason, str(error.execution_id) in str(error)]
        return []

    work("flows", worker_workflow_cache=cache)
    handle = await parent.queue()
    await waits_for(database, "signal never")
    await wait_child(database).cancel("by hand")

    assert await handle.result(timeout=10) == ["cancelled", "by hand", True]


async def test_a_child_out_of_its_time_has_failed(work: StartWorker, cache: int) -> None:
    @task(queue="flows")
    async def hang() -> None:
        await asyncio.Event().wait()

    @workflow(queue="flows")
    async def slow() -> None:
        await hang.run()

    @workflow(queue="flows")
    async def parent() -> str:
        try:
            await slow.options(timeout=0.3).run()
        except ChildFailed as error:
            return error.type
        return ""

    work("flows", worker_workflow_cache=cache)

    assert await asyncio.wait_for(parent.run(), 15) == "Timeout"


# --- The end of a parent


async def test_cancelling_a_workflow_cancels_all_that_it_runs(
    work: StartWorker, cache: int, database: Database, endless: Endless
) -> None:
    @workflow(queue="flows")
    async def middle() -> None:
        await endless.run()

    @workflow(queue="flows")
    async def top() -> None:
        await asyncio.gather(middle.run(), wait.run("never"), middle.options(delay=3600).run())

    work("flows", worker_workflow_cache=cache)
    handle = await top.queue()
    await endless.begun()
    await waits_for(database, "signal never")
    await handle.cancel("enough")

    with pytest.raises(Cancelled, match="enough"):
        await handle.result(timeout=10)
    await endless.stopped()
    outcomes = "select array_agg(distinct status) from currant.outcomes having count(*) = 5"
    assert await database.eventually(outcomes) == ["cancelled"]


@pytest.mark.parametrize("how", ["returns", "raises"])
@pytest.mark.parametrize(("option", "outcome"), [("cancel", "cancelled"), ("abandon", "completed")])
async def test_a_child_that_nobody_waited_for_is_cancelled_or_left_alone(
    how: str, option: str, outcome: str, work: StartWorker, cache: int, database: Database
) -> None:
    @workflow(queue="flows")
    async def parent() -> None:
        background = asyncio.create_task(wait.options(on_parent_end=option).run("go"))
        await wait_for_signal("end")
        if how == "raises":
            raise LookupError
        assert not background.done()

    work("flows", worker_workflow_cache=cache)
    handle = await parent.queue()
    await waits_for(database, "signal go")
    await handle.signal("end")
    await ended(database, "parent", "completed" if how == "returns" else "failed")
    if option == "abandon":
        await wait_child(database).signal("go", "free")

    await ended(database, "children.wait", outcome)


async def test_a_child_is_cancelled_with_the_await_and_the_parent_goes_on(
    work: StartWorker, cache: int, database: Database
) -> None:
    @workflow(queue="flows")
    async def parent() -> int:
        try:
            async with asyncio.timeout(3600):
                await wait.run("never")
        except TimeoutError:
            return await double.run(4)
        return 0

    work("flows", worker_workflow_cache=cache)
    handle = await parent.queue()
    await waits_for(database, "signal never")
    make_due(database)

    assert await handle.result(timeout=10) == 8
    await ended(database, "children.wait", "cancelled")


async def test_a_child_that_was_never_begun_is_cancelled_too(
    work: StartWorker, cache: int, database: Database
) -> None:
    @workflow(queue="flows")
    async def parent() -> None:
        waiting = asyncio.create_task(double.options(queue="elsewhere").run(1))
        await wait_for_signal("go")
        waiting.cancel()
        await wait_for_signal("end")

    work("flows", worker_workflow_cache=cache)
    handle = await parent.queue()
    await waits_for(database, "children.double")
    await handle.signal("go")

    await ended(database, "children.double", "cancelled")
    await handle.signal("end")
    await handle.result(timeout=10)


# --- Children with a key


async def test_workflows_with_the_same_key_for_a_child_share_it(
    work: StartWorker, cache: int, database: Database
) -> None:
    @workflow(queue="flows")
    async def parent() -> str:
        return await wait.options(key="shared").run("go")

    work("flows", worker_workflow_cache=cache)
    handles = [await parent.queue() for _ in range(5)]
    await waits_for(database, "children.wait", 5)
    await waits_for(database, "signal go")
    await wait_child(database).signal("go", "for all")

    assert [await each.result(timeout=10) for each in handles] == ["for all"] * 5


async def test_who_only_attached_leaves_the_other_alone(
    work: StartWorker, cache: int, database: Database
) -> None:
    @workflow(queue="flows")
    async def parent() -> str:
        return await wait.options(key="shared").run("go")

    work("flows", worker_workflow_cache=cache)
    shared = await wait.options(key="shared").queue("go")
    await waits_for(database, "signal go")
    cancelled, patient = await parent.queue(), await parent.queue()
    await waits_for(database, "children.wait", 2)
    await cancelled.cancel()
    with pytest.raises(Cancelled):
        await cancelled.result(timeout=10)
    await shared.signal("go", "still there")

    assert await patient.result(timeout=10) == "still there"
    assert await shared.result(timeout=10) == "still there"


async def test_a_key_whose_execution_has_ended_answers_at_once(
    work: StartWorker, cache: int, database: Database
) -> None:
    @workflow(queue="flows")
    async def parent() -> list[Any]:
        first = await double.options(key="once").run(4)
        second = await double.options(key="once").run(100)
        try:
            await pay.options(key="failed").run(1)
        except ChildFailed as error:
            return [first, second, error.function, error.execution_id]
        return []

    work("flows", worker_workflow_cache=cache)
    failed = await pay.options(key="failed").queue(1)
    with pytest.raises(ExecutionFailed):
        await failed.result(timeout=10)

    found = await asyncio.wait_for(parent.run(), 10)
    assert found == [8, 8, "children.pay", failed]


async def test_a_workflow_cannot_be_a_child_of_itself(work: StartWorker, cache: int) -> None:
    @workflow(queue="flows")
    async def ring(between: int) -> str:
        try:
            return await (link.run() if between else ring.options(key="ring").run(between))
        except ChildFailed as error:
            return f"{info().function} {error.type}"

    @workflow(queue="flows")
    async def link() -> str:
        try:
            return await ring.options(key="ring").run(0)
        except ChildFailed as error:
            return f"{info().function} {error.type}"

    work("flows", worker_workflow_cache=cache)

    own = ring.options(key="ring", key_scope="open")
    assert await asyncio.wait_for(own.run(0), 10) == "ring OwnAncestor"
    assert await asyncio.wait_for(own.run(1), 10) == "link OwnAncestor"


# --- Other executions


async def test_the_result_of_any_execution_can_be_waited_for(
    work: StartWorker, cache: int, database: Database
) -> None:
    @workflow(queue="flows")
    async def parent(waiting: str, done: str) -> list[Any]:
        mine = await double.queue(5)
        others: list[Handle[Any]] = [Handle(waiting), Handle(done), mine, await add.queue(1, 2)]
        return list(await asyncio.gather(*(each.result() for each in others)))

    work("flows", worker_workflow_cache=cache)
    done = await double.queue(2)
    await done.result(timeout=10)
    waiting = await wait.queue("go")
    handle = await parent.queue(waiting, done)
    await waits_for(database, "the end of")
    await waits_for(database, "signal go")
    await waiting.signal("go", "now")

    assert await handle.result(timeout=10) == ["now", 4, 10, 3]
    assert commands(database, handle)[:3] == ["queue", "queue", "attach"]


async def test_an_execution_that_ended_badly_raises_as_it_does_outside(
    work: StartWorker, cache: int
) -> None:
    @workflow(queue="flows")
    async def parent(failed: str, cancelled: str) -> list[str]:
        found = []
        for other in (failed, cancelled, str(uuid4()), info().id):
            handle: Handle[Any] = Handle(other)
            try:
                await handle.result()
            except (ExecutionFailed, Cancelled, ExecutionNotFound) as error:
                found.append(f"{type(error).__name__}: {getattr(error, 'type', '')}")
        return found

    work("flows", worker_workflow_cache=cache)
    failed = await pay.queue(1)
    cancelled = await wait.options(delay=3600).queue("never")
    await cancelled.cancel()
    with pytest.raises(ExecutionFailed):
        await failed.result(timeout=10)

    assert await asyncio.wait_for(parent.run(failed, cancelled), 10) == [
        "ExecutionFailed: ValueError",
        "Cancelled: Cancelled",
        "ExecutionNotFound: ",
        "ExecutionFailed: OwnAncestor",
    ]


async def test_who_waits_no_longer_leaves_the_other_alone(
    work: StartWorker, cache: int, database: Database
) -> None:
    @workflow(queue="flows")
    async def parent(other: str) -> str:
        handle: Handle[Any] = Handle(other)
        try:
            await handle.result(timeout=3600)
        except TimeoutError as error:
            return str(error)
        return ""

    work("flows", worker_workflow_cache=cache)
    other = await wait.queue("go")
    handle = await parent.queue(other)
    await waits_for(database, "the end of")
    make_due(database)

    expected = f"execution {other} has not ended within 3600 seconds"
    assert await handle.result(timeout=10) == expected
    await other.signal("go", "here")
    assert await other.result(timeout=10) == "here"


async def test_a_workflow_can_ask_for_another_to_be_cancelled(
    work: StartWorker, cache: int, database: Database
) -> None:
    @workflow(queue="flows")
    async def parent(other: str) -> str:
        handle: Handle[Any] = Handle(other)
        await handle.cancel("not needed")
        await Handle(uuid4()).cancel()  # of nobody: nothing happens
        try:
            await handle.result()
        except Cancelled as error:
            return error.reason
        return ""

    work("flows", worker_workflow_cache=cache)
    other = await wait.queue("never")
    await waits_for(database, "signal never")
    handle = await parent.queue(other)

    assert await handle.result(timeout=10) == "not needed"
    assert await other.status() is Status.CANCELLED
    assert commands(database, handle)[:2] == ["request_cancel", "request_cancel"]

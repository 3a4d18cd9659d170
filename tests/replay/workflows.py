"""Workflows whose recorded histories are in fixtures/, and how a run of each comes about.

The code of a workflow here may change only as it may anywhere: behind get_version(). Histories that
are there have to be followed for ever; script/record-histories adds those that are missing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

import currant
from currant import (
    ChildFailed,
    Client,
    Handle,
    SideEffectFailed,
    TaskFailed,
    continue_as_new,
    definitions,
    get_version,
    send_signal,
    side_effect,
    task,
    wait_condition,
    wait_for_signal,
    workflow,
)

QUEUE = "recorded"
# What a task waits for that has to be under way while something else happens to its workflow.
LONG = 0.3


@dataclass
class Line:
    """A line of an order."""

    article: str
    price: Decimal
    count: int = 1


@dataclass
class Receipt:
    """What a customer gets."""

    number: str
    total: Decimal
    at: datetime


@task(name="recorded.charge", queue=QUEUE, retries=2, retry_delay=0)
async def charge(customer: str, total: Decimal) -> str:
    if currant.task_info().attempt == 1:
        raise ConnectionError("the bank did not answer")
    return f"{customer}-{total}"


@task(name="recorded.add", queue=QUEUE)
async def add(a: int, b: int) -> int:
    return a + b


@task(name="recorded.rest", queue=QUEUE)
async def rest(seconds: float, value: str = "") -> str:
    await asyncio.sleep(seconds)
    return value


@task(name="recorded.refuse", queue=QUEUE, retries=0)
async def refuse(reason: str) -> None:
    raise ValueError(reason)


# --- One step after the other


@workflow(name="recorded.order", queue=QUEUE)
async def order(customer: str, lines: list[Line]) -> Receipt:
    total = sum((line.price * line.count for line in lines), Decimal(0))
    number = await charge.run(customer, total)
    await asyncio.sleep(0.05)
    try:
        await refuse.options(retries=0).run("out of stock")
    except TaskFailed:
        number += " (in part)"
    await rest.options(delay=0.01, priority=3).queue(0, "receipt")
    return Receipt(number, total, currant.now())


# --- Signals


@workflow(name="recorded.approval", queue=QUEUE)
async def approval(title: str, patience: float) -> str:
    for attempt in range(2):
        try:
            review = await wait_for_signal("review", timeout=patience)
        except TimeoutError:
            await rest.run(0, f"reminder {attempt}")
            continue
        answered = await asyncio.gather(wait_for_signal("by"), rest.run(0, review["verdict"]))
        return f"{title}: {answered}"
    return f"{title}: nobody had time"


# --- Many things at a time


@workflow(name="recorded.fan_out", queue=QUEUE)
async def fan_out(width: int) -> list[Any]:
    sums = await asyncio.gather(*(add.run(number, number) for number in range(width)))
    found: list[Any] = list(sums)
    async with asyncio.TaskGroup() as group:
        pair = [group.create_task(add.run(number, 1)) for number in (10, 20)]
    found += [one.result() for one in pair]
    try:
        async with asyncio.timeout(0.05):
            await asyncio.gather(rest.run(LONG), asyncio.sleep(10))
    except TimeoutError:
        found.append("timeout")
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(refuse.run("no"))
            group.create_task(asyncio.sleep(100))
    except* TaskFailed as failed:
        found.append(f"{len(failed.exceptions)} failed")
    outcomes = await asyncio.gather(
        refuse.run("again"), add.run(1, 1), asyncio.wait_for(add.run(2, 2), 60),
        return_exceptions=True,
    )  # fmt: skip
    return [*found, *(type(one).__name__ for one in outcomes)]


@workflow(name="recorded.mix", queue=QUEUE)
async def mix() -> list[Any]:
    """Whatever asyncio offers, on top of tasks and timers."""
    found: list[Any] = []
    queue: asyncio.Queue[int | None] = asyncio.Queue(maxsize=2)
    limit, lock, ready = asyncio.Semaphore(2), asyncio.Lock(), asyncio.Event()

    async def produce() -> None:
        for number in range(4):
            async with limit:
                await queue.put(await add.run(number, 100))
        await queue.put(None)

    async def consume() -> None:
        while (item := await queue.get()) is not None:
            async with lock:
                await asyncio.sleep(0.01)
                found.append(item)
        ready.set()

    async def doubled() -> AsyncIterator[int]:
        for number in (1, 2):
            yield await add.run(number, number)

    async with asyncio.TaskGroup() as group:
        group.create_task(produce())
        group.create_task(consume())
    await ready.wait()
    found += [number async for number in doubled()]
    for next_one in asyncio.as_completed([add.run(7, 7), rest.run(0.05, "late")]):
        found.append(await next_one)
    first, later = await asyncio.wait(
        [asyncio.create_task(asyncio.sleep(0.01, "timer")), asyncio.create_task(rest.run(LONG))],
        return_when=asyncio.FIRST_COMPLETED,
    )
    found += [one.result() for one in first]
    for one in later:
        one.cancel()
    shielded = asyncio.create_task(rest.run(0.1, "shielded"))
    try:
        await asyncio.wait_for(asyncio.shield(shielded), 0.02)
    except TimeoutError:
        found.append(await shielded)
    barrier = asyncio.Barrier(2)
    await asyncio.gather(barrier.wait(), barrier.wait(), asyncio.sleep(0))
    return found


# --- Children


@workflow(name="recorded.child", queue=QUEUE)
async def child(name: str, fails: bool = False) -> str:
    if fails:
        await refuse.run(f"{name} cannot")
    await rest.run(0.01)
    return name.upper()


@workflow(name="recorded.waiter", queue=QUEUE)
async def waiter(name: str) -> str:
    """A child that waits until it is told to go on."""
    return str(await wait_for_signal("go"))


@workflow(name="recorded.family", queue=QUEUE)
async def family() -> list[Any]:
    found: list[Any] = list(await asyncio.gather(*(child.run(name) for name in ("ann", "ben"))))
    try:
        await child.run("cid", fails=True)
    except ChildFailed as error:
        found += [error.type, error.status]
    # Started on its own and waited for as one of many could.
    other = await waiter.options(key="the only one").queue("dora")
    attached = asyncio.create_task(waiter.options(key="the only one").run("dora"))
    await asyncio.sleep(0.05)
    await send_signal((waiter, "the only one"), "go", "gone")
    found += [await attached, await other.result()]
    lost = await waiter.queue("eve")
    await lost.cancel("not needed")
    try:
        await lost.result()
    except currant.Cancelled as error:
        found.append(error.status)
    try:
        async with asyncio.timeout(0.05):
            await waiter.options(on_parent_end="abandon").run("fay")
    except TimeoutError:
        found.append("timeout")
    return found


# --- Continued as new


@workflow(name="recorded.counter", queue=QUEUE)
async def counter(total: int = 0, runs: int = 1) -> int:
    for _ in range(2):
        total += int(await wait_for_signal("count"))
    await add.run(total, runs)
    if runs < 3:
        continue_as_new(total, runs=runs + 1)
    return total


# --- What differs from one call to the next


@workflow(name="recorded.effects", queue=QUEUE)
async def effects() -> list[Any]:
    def roll() -> int:
        return int(currant.__version__.count(".") + 40)

    def break_down() -> None:
        raise LookupError("no such setting")

    found: list[Any] = [side_effect(roll)]
    try:
        side_effect(break_down)
    except SideEffectFailed as error:
        found.append(error.type)
    told: list[int] = []

    async def tell() -> None:
        for number in range(3):
            told.append(await add.run(number, currant.random().randrange(1000)))

    task_of_it = asyncio.create_task(tell())
    await wait_condition(lambda: len(told) > 1)
    found += [currant.uuid4().version, len(told), currant.info().is_continued]
    try:
        await wait_condition(lambda: len(told) > 5, timeout=0.2)
    except TimeoutError:
        found.append(len(told))
    await task_of_it
    await add.run(int(currant.now().timestamp()) % 7, currant.uuid4().int % 1000)
    return found


# --- Changed code


def delivery_before() -> definitions.Function[..., Any, Any]:
    """The workflow as it was before its change; defining it registers it."""

    @workflow(name="recorded.delivery", queue=QUEUE)
    async def delivery(parcel: str) -> str:
        await rest.run(0, f"packed {parcel}")
        await wait_for_signal("picked up")
        await rest.run(0, f"sent {parcel}")
        return parcel

    return delivery


@workflow(name="recorded.delivery", queue=QUEUE, version=2)
async def delivery(parcel: str) -> str:
    await rest.run(0, f"packed {parcel}")
    if get_version("insure", 1, 2) >= 2:
        await rest.run(0, f"insured {parcel}")
    await wait_for_signal("picked up")
    if get_version("thank", 1, 2) >= 2:
        await rest.run(0, "thanks")
    await rest.run(0, f"sent {parcel}")
    return parcel


# --- Cancelled


@workflow(name="recorded.cleaning", queue=QUEUE)
async def cleaning() -> str:
    step = asyncio.create_task(rest.run(60, "never"))
    try:
        await asyncio.gather(step, wait_for_signal("never"), asyncio.sleep(3600))
    except asyncio.CancelledError:
        await asyncio.shield(rest.run(0.05, "cleaned up"))
        async with asyncio.timeout(5):
            await add.run(1, 2)
        raise
    return "done"


# --- How a run of each comes about

Start = Callable[["Recorder"], Awaitable[Handle[Any]]]


class Recorder:
    """What a scenario needs: the client, and to wait until a run has come to a place."""

    def __init__(
        self, client: Client, until: Callable[[Handle[Any], str], Awaitable[None]]
    ) -> None:
        self.client = client
        self.waits_for = until

    async def ended(self, run: Handle[Any]) -> Handle[Any]:
        """The run, when it is over, however that was."""
        await asyncio.gather(run.result(timeout=30), return_exceptions=True)
        return run


async def an_order(recorder: Recorder) -> Handle[Any]:
    lines = [Line("tea", Decimal("3.50"), 2), Line("cup", Decimal("0.10"))]
    return await recorder.ended(await order.queue("c-7", lines))


async def an_approval_that_is_given(recorder: Recorder) -> Handle[Any]:
    run = await approval.queue("tea", 3600)
    await recorder.waits_for(run, "signal review")
    await run.signal("by", "me")
    await run.signal("review", {"verdict": "fine"})
    return await recorder.ended(run)


async def an_approval_under_way(recorder: Recorder) -> Handle[Any]:
    run = await approval.queue("milk", 3600)
    await run.signal("review", {"verdict": "fine"})
    await recorder.waits_for(run, "signal by")
    return run


async def an_approval_that_nobody_has_time_for(recorder: Recorder) -> Handle[Any]:
    return await recorder.ended(await approval.queue("coffee", 0.05))


async def many_things_at_a_time(recorder: Recorder) -> Handle[Any]:
    return await recorder.ended(await fan_out.queue(5))


async def a_mix_of_asyncio(recorder: Recorder) -> Handle[Any]:
    return await recorder.ended(await mix.queue())


async def a_family(recorder: Recorder) -> Handle[Any]:
    return await recorder.ended(await family.queue())


async def a_run_that_continued_as_new(recorder: Recorder) -> Handle[Any]:
    run = await counter.queue()
    for number in range(6):
        await run.signal("count", number)
    return await recorder.ended(run)


async def a_run_that_has_yet_to_end(recorder: Recorder) -> Handle[Any]:
    run = await counter.queue()
    for number in range(3):
        await run.signal("count", number)
    await recorder.waits_for(run, "signal count")
    return run


async def side_effects(recorder: Recorder) -> Handle[Any]:
    return await recorder.ended(await effects.queue())


async def code_before_its_change(recorder: Recorder) -> Handle[Any]:
    run = await delivery_before().queue("old")
    await recorder.waits_for(run, "signal picked up")
    await run.signal("picked up")
    await recorder.ended(run)
    definitions.registry.add(delivery)
    return run


async def code_changed_under_way(recorder: Recorder) -> Handle[Any]:
    run = await delivery_before().queue("under way")
    await recorder.waits_for(run, "signal picked up")
    definitions.registry.add(delivery)
    await run.signal("picked up")
    return await recorder.ended(run)


async def changed_code(recorder: Recorder) -> Handle[Any]:
    run = await delivery.queue("new")
    await run.signal("picked up")
    return await recorder.ended(run)


async def a_cancelled_run_that_cleans_up(recorder: Recorder) -> Handle[Any]:
    run = await cleaning.queue()
    await recorder.waits_for(run, "signal never")
    await run.cancel("enough")
    return await recorder.ended(run)


SCENARIOS: tuple[Start, ...] = (
    an_order,
    an_approval_that_is_given,
    an_approval_under_way,
    an_approval_that_nobody_has_time_for,
    many_things_at_a_time,
    a_mix_of_asyncio,
    a_family,
    a_run_that_continued_as_new,
    a_run_that_has_yet_to_end,
    side_effects,
    code_before_its_change,
    code_changed_under_way,
    changed_code,
    a_cancelled_run_that_cleans_up,
)

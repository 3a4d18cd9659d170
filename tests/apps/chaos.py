"""Workflows of every kind, for workers that are killed all the time.

What each returns follows from its arguments and from what was sent to it, so that whatever gets
lost, doubled or out of order shows. `mark` leaves a trace in the table `effects` in the transaction
that completes it, hence once. CHAOS_CODE says which of two versions of the code this is.
"""

from __future__ import annotations

import asyncio
import os
import random
from typing import Any

import currant
from currant import ChildFailed, Handle, TaskFailed, task, workflow

CODE = int(os.environ.get("CHAOS_CODE", "2"))
# A killed worker costs an attempt, and there will be many.
STUBBORN: dict[str, Any] = {"queue": "work", "retries": 100, "retry_delay": 0.01}


@task(**STUBBORN, transactional=True)
async def mark(name: str) -> str:
    """Leave a trace, once."""
    await currant.connection().execute("insert into effects values (%s, 1)", (name,))
    return name


@task(**STUBBORN)
async def echo(value: Any) -> Any:
    """Take a moment."""
    await asyncio.sleep(random.random() / 50)
    return value


@task(**STUBBORN)
def stumble(name: str, times: int) -> str:
    """Fail some times."""
    if currant.task_info().attempt <= times:
        raise ConnectionError(f"{name} is not there yet")
    return name


@task(queue="work", retries=100, retry_delay=0.01, non_retryable=ValueError)
async def refuse(name: str) -> None:
    """Fail for good."""
    raise ValueError(f"{name} is refused")


@task(**STUBBORN)
async def dawdle() -> str:
    """Take longer than anybody waits."""
    await asyncio.sleep(600)
    return "at last"


@workflow(queue="work", version=CODE)
async def mixed(name: str, size: int) -> list[Any]:
    """Steps one after the other, together, in groups, in time and too late."""
    found: list[Any] = [await mark.run(f"{name} first")]
    found += await asyncio.gather(
        mark.run(f"{name} a"), stumble.run(f"{name} b", 2), echo.run([name, "c"])
    )
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(mark.run(f"{name} in a group {n}")) for n in range(size)]
    found += [one.result() for one in tasks]
    if currant.get_version("chaos", 1, CODE) == 2:
        await mark.run(f"{name} by new code")
    try:
        async with asyncio.timeout(0.05):
            found.append(await dawdle.run())
    except TimeoutError:
        found.append("too late")
    try:
        await refuse.run(name)
    except TaskFailed as error:
        found.append(f"{error.type}: {error.reason}")
    seed = currant.side_effect(lambda: os.urandom(8).hex())
    rolls = [currant.random().random(), str(currant.uuid4()), currant.now().isoformat(), seed]
    if await echo.run(rolls) != rolls:
        found.append("it was not the same any more")
    done = [await one for one in asyncio.as_completed([echo.run(n) for n in range(size)])]
    return [*found, sorted(done)]


@workflow(queue="work", version=CODE)
async def collect(count: int) -> list[Any]:
    """So many items, in the order in which they were sent."""
    return [await currant.wait_for_signal("item") for _ in range(count)]


@workflow(queue="work", version=CODE)
async def courier(to: str, count: int) -> int:
    """Send the items to another workflow."""
    for number in range(count):
        await currant.send_signal(to, "item", number)
        await echo.run(number)
    return count


@workflow(queue="work", version=CODE)
async def basket(name: str) -> list[Any]:
    """Whatever comes until nothing comes any more; what comes later is for the next basket."""
    found = []
    while True:
        try:
            found.append(await currant.wait_for_signal("item", timeout=0.1))
        except TimeoutError:
            return found
        await echo.run(found[-1])


@workflow(queue="work", version=CODE)
async def family(name: str, depth: int) -> list[Any]:
    """Children with children; those at the bottom share one with a key."""
    if depth == 0:
        token = await shared.options(key=name.partition("/")[0]).run(name)
        return [[await mark.run(name), token]]
    halves = await asyncio.gather(*(family.run(f"{name}/{n}", depth - 1) for n in range(2)))
    found = [item for half in halves for item in half]
    try:
        await failing.run(name)
    except ChildFailed as error:
        cause = error.cause.type if error.cause else None
        found.append([error.status, error.type, error.reason, cause])
    try:
        async with asyncio.timeout(0.05):
            await waiting.run(f"{name} child")
    except TimeoutError:
        found.append("too late")
    left = {asyncio.create_task(outliving.options(on_parent_end="abandon").run(name))}
    await echo.run(len(left))
    return found


@workflow(queue="work", version=CODE)
async def shared(name: str) -> str:
    """Something that many want and that is done once."""
    await asyncio.sleep(0.05)
    return str(currant.uuid4())


@workflow(queue="work", version=CODE)
async def failing(name: str) -> None:
    """Fail after a step, for a reason that lies deeper."""
    await echo.run(name)
    await refuse.run(name)


@workflow(queue="work", version=CODE)
async def outliving(name: str) -> str:
    """Go on when the parent has ended."""
    await asyncio.sleep(1)
    return await mark.run(f"{name} outlived")


@workflow(queue="work", version=CODE)
async def waiting(name: str) -> str:
    """Wait until it is cancelled, and clean up."""
    try:
        await mark.run(f"{name} opened")
        await currant.wait_for_signal("never")
    finally:
        await mark.run(f"{name} closed")
    return name


@workflow(queue="work", version=CODE)
async def renewed(left: int, found: list[Any]) -> list[Any]:
    """Three items in each run, and then another run."""
    for _ in range(3):
        found.append(await echo.run(await currant.wait_for_signal("item")))
    if left > 1:
        currant.continue_as_new(left - 1, found)
    return found


@workflow(queue="work", version=CODE)
async def onlooker(target: str) -> list[Any]:
    """Wait for the end of another one."""
    try:
        return ["completed", await Handle(target).result()]
    except currant.RemoteError as error:
        return [error.status, error.type]


@workflow(queue="work", version=CODE)
async def pool(size: int) -> int:
    """Workers of its own that share a queue, until a condition holds."""
    jobs: asyncio.Queue[int] = asyncio.Queue()
    done: list[int] = []
    for number in range(size):
        jobs.put_nowait(number)

    async def work() -> None:
        while not jobs.empty():
            done.append(await echo.run(jobs.get_nowait()))

    crew = [asyncio.create_task(work()) for _ in range(3)]
    await currant.wait_condition(lambda: len(done) == size)
    await asyncio.gather(*crew)
    return sum(done)

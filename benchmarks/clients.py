"""What clients do in processes of their own, for any system; see `side`."""

from __future__ import annotations

import asyncio
import itertools
import random
import time

from benchmarks.systems.base import QUEUE, System

# Seconds of enqueueing before it is measured, per second measured.
_WARM_UP = 0.1


async def enqueue_many(
    system: System,
    *,
    first: int,
    count: int,
    queue: str = QUEUE,
    payload_bytes: int = 0,
    delay_seconds: float | None = None,
) -> float:
    """Enqueue many tasks by one call; the seconds it took."""
    payload = "x" * payload_bytes if payload_bytes else None
    begin = time.perf_counter()
    await system.enqueue_many(
        range(first, first + count), queue=queue, payload=payload, delay_seconds=delay_seconds
    )
    return time.perf_counter() - begin


async def enqueue_single(
    system: System, *, first: int, seconds: float, connections: int
) -> dict[str, float]:
    """Enqueue tasks in a commit each, over several connections at once, for so long.

    Returns:
        "count", numbered from `first`, and "rate" of those after a short start.
    """
    numbers = itertools.count(first)

    async def one_after_the_other(connection: int, until: float) -> int:
        done = 0
        while time.perf_counter() < until:
            await system.enqueue(next(numbers), connection)
            done += 1
        return done

    async def all_together(seconds: float) -> float:
        begin = time.perf_counter()
        each = (one_after_the_other(one, begin + seconds) for one in range(connections))
        return sum(await asyncio.gather(*each)) / (time.perf_counter() - begin)

    await all_together(_WARM_UP * seconds)
    rate = await all_together(seconds)
    return {"count": next(numbers) - first, "rate": rate}


async def ask(
    system: System,
    *,
    first: int,
    count: int,
    pauses: tuple[float, float],
    is_awaited: bool,
    queue: str = QUEUE,
) -> list[tuple[int, int]]:
    """Enqueue tasks one at a time with pauses of random length in between.

    Returns:
        For each when the call began and, if results are awaited, when its result was known
        (otherwise when the call returned).
    """
    # The same pauses for all, and none in step with anybody's polling.
    random_pauses = random.Random(count)
    times = []
    for number in range(first, first + count):
        await asyncio.sleep(random_pauses.uniform(*pauses))
        begin = time.monotonic_ns()
        enqueued = await system.enqueue(number, queue=queue)
        if is_awaited:
            await system.result(enqueued)
        times.append((begin, time.monotonic_ns()))
    return times


async def enqueue_workflows(system: System, *, first: int, count: int, steps: int) -> float:
    """Enqueue workflows; the seconds it took."""
    begin = time.perf_counter()
    await system.enqueue_workflows(range(first, first + count), steps)
    return time.perf_counter() - begin


async def enqueue_fan_out(system: System, *, number: int, width: int) -> int:
    """Enqueue one workflow; when the call began."""
    begin = time.monotonic_ns()
    await system.enqueue_fan_out(number, width)
    return begin

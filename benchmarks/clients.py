"""What clients do in processes of their own, for any system; see `side`."""

from __future__ import annotations

import asyncio
import time

from benchmarks.systems.base import QUEUE, System


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


async def enqueue_single(system: System, *, first: int, count: int, connections: int) -> float:
    """Enqueue tasks in a commit each, over several connections at once; the seconds it took."""
    numbers = iter(range(first, first + count))

    async def one_after_the_other(connection: int) -> None:
        for number in numbers:
            await system.enqueue(number, connection)

    begin = time.perf_counter()
    await asyncio.gather(*(one_after_the_other(number) for number in range(connections)))
    return time.perf_counter() - begin


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

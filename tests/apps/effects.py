"""Tasks and workflows that leave a trace in the table `effects`, and can be held by a lock.

The trace is written in a transaction of its own, as a call to another system would be.
"""

from __future__ import annotations

import asyncio
import os

import psycopg

import currant
from currant import task, workflow


async def leave(name: str, attempt: int) -> None:
    """Write down that it was here."""
    async with await _connect() as connection:
        await connection.execute("insert into effects values (%s, %s)", (name, attempt))


async def pass_gate(key: int) -> None:
    """Wait until nobody holds this lock."""
    async with await _connect() as connection:
        await connection.execute("select pg_advisory_xact_lock_shared(%s)", (key,))


async def _connect() -> psycopg.AsyncConnection:
    url = os.environ["CURRANT_DATABASE_URL"]
    return await psycopg.AsyncConnection.connect(url, autocommit=True)


@task(queue="work", retry_delay=0)
async def act(name: str, gate: int = 0) -> str:
    """Leave a trace, stand at the gate, leave another."""
    attempt = currant.task_info().attempt
    await leave(f"{name} begins", attempt)
    if gate:
        await pass_gate(gate)
    await leave(f"{name} ends", attempt)
    return f"{name} done at attempt {attempt}"


@task(queue="work", retry_delay=0, transactional=True)
async def act_once(name: str) -> str:
    """Leave a trace in the transaction that completes it."""
    attempt = currant.task_info().attempt
    await currant.connection().execute("insert into effects values (%s, %s)", (name, attempt))
    return name


@task(queue="work", retry_delay=0)
async def add(total: int, number: int) -> int:
    """A step of a sum."""
    await leave(f"add {number}", currant.task_info().attempt)
    return total + number


@task(queue="elsewhere", retry_delay=0)
async def far_away(name: str) -> str:
    """A task for another worker."""
    await leave(name, currant.task_info().attempt)
    return name


@workflow(queue="work")
async def sum_up(numbers: list[int]) -> int:
    """Step after step."""
    total = 0
    for number in numbers:
        total = await add.run(total, number)
    return total


@workflow(queue="work")
async def three_steps(name: str) -> list[str]:
    """Three transactional steps and a gather."""
    first = await act_once.run(f"{name}/1")
    second, third = await asyncio.gather(act_once.run(f"{name}/2"), act_once.run(f"{name}/3"))
    return [first, second, third]


@workflow(queue="work")
async def wait_and_act(name: str) -> list[str]:
    """A task, a signal, a timer and another task."""
    before = await act_once.run(f"{name} before")
    word = await currant.wait_for_signal("go", timeout=600)
    await asyncio.sleep(0.01)
    after = await act_once.run(f"{name} {word}")
    return [before, after]


@workflow(queue="work")
async def by_hand_over() -> str:
    """A task that this queue's workers do not take."""
    return await far_away.run("far")

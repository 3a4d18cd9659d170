"""An application that writes down every start of each of its tasks, for the tests that kill."""

import asyncio
import os

import psycopg

import currant
from currant import task, workflow


async def _write_down() -> None:
    url = os.environ["CURRANT_DATABASE_URL"]
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        await connection.execute(
            "insert into starts (execution_id, attempt, pid) values (%s, %s, %s)",
            [currant.task_info().id, currant.task_info().attempt, os.getpid()],
        )


@task(queue="tasks")
async def work(n: int) -> int:
    await _write_down()
    await asyncio.sleep(0.15)
    return n


@task
async def step(text: str, letter: str) -> str:
    await _write_down()
    await asyncio.sleep(0.1)
    return text + letter


@workflow(queue="workflows")
async def three_steps(n: int) -> str:
    text = await step.run(str(n), "a")
    text = await step.run(text, "b")
    return await step.run(text, "c")

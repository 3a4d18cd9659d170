"""Options of what a workflow asks for: each works there or is refused at the call."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from currant import Handle, NotAllowedInWorkflow, OptionError, task, workflow
from currant.options import TASKS_ONLY, WORKFLOWS_ONLY, CallOptions
from tests.integration.conftest import StartWorker
from tests.support.worker_database import Database


@task(name="options.add", queue="flows")
async def add(a: int, b: int) -> int:
    return a + b


@workflow(name="options.add_up", queue="flows")
async def add_up(a: int, b: int) -> int:
    return await add.run(a, b)


OPTIONS: dict[str, Any] = {
    "queue": "flows",
    "priority": 3,
    "retries": 1,
    "timeout": timedelta(seconds=20),
    "delay": 0.01,
    "run_at": datetime(2026, 1, 1, tzinfo=UTC),
    "key": "shared",
    "key_scope": "open",
    "id": uuid4(),
    "version": 1,
    "headers": {"trace": "x"},
    "retry_delay": 0,
    "retry_backoff": 2,
    "retry_max_delay": 1,
    "on_parent_end": "abandon",
    "signal_key": "once",
    "connection": object(),
    "client": object(),
}
NOT_INSIDE = {"connection", "client", "id", "signal_key"}
NOT_FOR_TASKS = {"key", "key_scope"}
NOT_QUEUED = {"on_parent_end"}


def test_the_options_tried_inside_a_workflow_are_all_there_are() -> None:
    assert OPTIONS.keys() == CallOptions.__annotations__.keys()


@pytest.mark.parametrize("name", [name for name in OPTIONS if name not in WORKFLOWS_ONLY])
async def test_an_option_of_a_task_works_or_is_refused_at_the_call(
    name: str, work: StartWorker, cache: int
) -> None:
    stepped, queued = await _used(add, name, work, cache)

    assert stepped == ("refused" if name in NOT_INSIDE | NOT_FOR_TASKS else 3)
    assert queued == ("refused" if name in NOT_INSIDE else 7)


@pytest.mark.parametrize("name", [name for name in OPTIONS if name not in TASKS_ONLY])
async def test_an_option_of_a_child_works_or_is_refused_at_the_call(
    name: str, work: StartWorker, cache: int
) -> None:
    stepped, queued = await _used(add_up, name, work, cache)

    # An execution that has the key is the child.
    of_child = 7 if name == "key" else 3
    assert stepped == ("refused" if name in NOT_INSIDE else of_child)
    assert queued == ("refused" if name in NOT_INSIDE | NOT_QUEUED else 7)


async def _used(function: Any, name: str, work: StartWorker, cache: int) -> list[Any]:
    """What the function gives in a workflow, run and queued with the option."""
    chosen = function.options(**{name: OPTIONS[name]})

    @workflow(queue="flows")
    async def flow() -> list[Any]:
        try:
            queued = str(await chosen.queue(3, 4))
        except (NotAllowedInWorkflow, OptionError):
            queued = "refused"
        try:
            stepped = await chosen.run(1, 2)
        except (NotAllowedInWorkflow, OptionError):
            stepped = "refused"
        return [stepped, queued]

    work("flows", worker_workflow_cache=cache)
    stepped, queued = await asyncio.wait_for(flow.run(), 15)
    if queued != "refused":
        independent: Handle[int] = Handle(queued)
        queued = await independent.result(timeout=10)
    return [stepped, queued]


async def test_keys_inside_a_workflow_share_an_execution(
    work: StartWorker, cache: int, database: Database
) -> None:
    @workflow(queue="flows")
    async def flow() -> None:
        await add.options(key="first").queue(1, 1)
        await add.options(key="first").queue(1, 1)
        await add.queue_many([add.bind(1, 1), add.bind(2, 2)], keys=["first", "second"])

    work("flows", worker_workflow_cache=cache)
    await asyncio.wait_for(flow.run(), 15)

    keys = database.rows("select key from currant.execution_status where function = 'options.add'")
    assert sorted(row.key for row in keys) == ["first", "second"]

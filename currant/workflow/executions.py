"""Waiting for the end of another execution: a task, a child, or one that is there already."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

from currant.errors import (
    Cancelled,
    ChildFailed,
    ExecutionFailed,
    ExecutionNotFound,
    RemoteError,
    TaskFailed,
)
from currant.workflow.history import Event
from currant.workflow.instance import Instance
from currant.workflow.intents import Attach, Execution

_FAILURES: dict[str, type[RemoteError]] = {"task": TaskFailed, "child": ChildFailed}


async def run(instance: Instance, intent: Execution, decode: Callable[[str], Any]) -> Any:
    """Have a task or a child run; gives its result."""
    event = await _end_of(instance, intent)
    if event.kind.endswith("_completed"):
        return decode(event.payload or "null")
    # A child whose key another execution has is that other one.
    execution = event.execution or instance.identify(intent)
    raise _FAILURES[intent.kind].from_json(
        json.loads(event.payload or "null"), execution_id=str(execution), function=intent.name
    )


async def attach(instance: Instance, intent: Attach, decode: Callable[[str], Any]) -> Any:
    """Wait for the end of an execution; gives its result."""
    event = await _end_of(instance, intent)
    if event.kind.endswith("_completed"):
        return decode(event.payload or "null")
    error = json.loads(event.payload or "null")
    known = error if isinstance(error, dict) else {}
    # Without attempts: it is not an execution's own error, there never was one.
    if known.get("type") == "ExecutionNotFound" and not known.get("attempts"):
        raise ExecutionNotFound(str(known.get("message")), hint="is it of this database?")
    kind = Cancelled if known.get("status") == "cancelled" else ExecutionFailed
    raise kind.from_json(error, execution_id=str(intent.execution), function=intent.name)


async def _end_of(instance: Instance, intent: Execution | Attach) -> Event:
    try:
        return await instance.ask(intent)
    except asyncio.CancelledError:
        instance.ledger.cancel(intent)
        raise

"""What handles and clients do in the code of a workflow: commands, or a clear no."""

import asyncio
from collections.abc import Callable
from typing import Any
from uuid import UUID

from currant import codec, errors, sending
from currant.arguments import Seconds, seconds
from currant.workflow import api

Decode = Callable[[str | None], Any]


def refuse(what: str | None = None, hint: str | None = None) -> None:
    """Raise NotAllowedInWorkflow if the caller is the code of a workflow.

    Args:
        what: cannot be done there; None: talking to the database at all.
    """
    if not api.in_workflow():
        return
    if what is None:
        what = "a workflow cannot talk to the database itself, it would do so at every replay"
    raise errors.NotAllowedInWorkflow(
        what,
        hint=hint or "do it in a task, or use the awaitable forms of queue, run and send_signal",
    )


async def signal(
    to: sending.Target, name: str, payload: Any, *, key: str | None, connection: Any
) -> None:
    """Send a signal with the commit of what led to it."""
    if connection is not None:
        refuse("option connection cannot be used inside a workflow", "do it in a task")
    if key is not None:
        refuse(
            f"signal {name!r} cannot be given a key inside a workflow, which sends it once anyway",
            "leave the key out, or send it from a task",
        )
    await api.send_signal(sending.target(to), name, sending.payload(name, payload))


async def cancel(execution: UUID, reason: str | None, *, force: bool) -> None:
    """Ask for an execution's cancellation with the commit of what led to it."""
    if force:
        refuse(
            "a workflow can ask for cancellation, and not enforce it",
            "leave force out, or cancel in a task",
        )
    await api.request_cancel(execution, reason)


async def result(
    execution: UUID, function: str | None, timeout: Seconds | None, decode: Decode | None
) -> Any:
    """Wait for the end of another execution, whoever began it, and give its result."""
    what = f"the result of {function or 'execution'} {execution}"
    limit = None if timeout is None else seconds(timeout, what="timeout")

    def decode_plain(text: str | None) -> Any:
        return codec.decode(text, what=what)

    deadline = asyncio.timeout(limit)
    try:
        async with deadline:
            return await api.attach(execution, function, decode or decode_plain)
    except TimeoutError as error:
        if not deadline.expired():
            raise
        raise sending.timed_out(execution, limit) from error

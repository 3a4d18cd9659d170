"""What the author of a workflow calls besides tasks: signals, versions, time.

Also what these mean in a workflow that is called directly, as an ordinary function: then there is
no history, so they answer as in a run that has just begun.
"""

import random as random_module
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

from currant import codec
from currant.arguments import Seconds
from currant.workflow import api

_is_inline: ContextVar[bool] = ContextVar("currant_inline", default=False)


@contextmanager
def inline() -> Iterator[None]:
    """In here a workflow runs as an ordinary coroutine, its tasks in place."""
    token = _is_inline.set(True)
    try:
        yield
    finally:
        _is_inline.reset(token)


def is_inline() -> bool:
    """Whether the caller is a workflow that was called as an ordinary function."""
    return _is_inline.get() and not api.in_workflow()


async def wait_for_signal(
    name: str,
    timeout: Seconds | None = None,
    *,
    type: Any = Any,  # noqa: A002  (reads best where it is used)
) -> Any:
    """Wait for a signal and take its payload; those that came earlier are taken first.

    Args:
        name: which signals.
        timeout: seconds or a timedelta to wait at most; None waits for ever.
        type: what the payload is decoded as.

    Raises:
        TimeoutError: none came in that time. Waiting again waits anew.
        InvalidArgument: the name is none that a signal could have.
        TypeError: the timeout is no duration.
        DecodingError: the payload does not fit `type`.
        NotInWorkflow: the caller is no workflow.
    """

    def decode(text: str) -> Any:
        return codec.decode(text, type, what=f"the payload of signal {name!r}")

    return await api.wait_for_signal(name, timeout, decode=decode)


def get_version(change_id: str, min_version: int, max_version: int) -> int:
    """Which version of a change in its code a workflow's run follows, for as long as it lives.

    A run that has not come this far follows `max_version`; one that went past this place before
    the change was made, `min_version`.

    Raises:
        UnsupportedVersion: the run follows one that this code does not have.
        NotInWorkflow: the caller is no workflow.
    """
    if is_inline() and min_version <= max_version:
        return max_version
    return api.get_version(change_id, min_version, max_version)


def now() -> datetime:
    """The workflow's time, the same at every replay; aware, in UTC."""
    return datetime.now(UTC) if is_inline() else api.now()


def random() -> random_module.Random:
    """The workflow's random numbers, the same at every replay."""
    return random_module.Random() if is_inline() else api.random()


def uuid4() -> uuid.UUID:
    """A random UUID, the same at every replay."""
    return uuid.uuid4() if is_inline() else api.uuid4()

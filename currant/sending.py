"""What a client sends besides calls of its functions: checked, encoded, addressed."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from currant import codec, database, models
from currant.arguments import is_name
from currant.errors import InvalidArgument
from currant.workflow import api

LONGEST_FUNCTION = 500
LONGEST_KEY = 1000

Identifier = UUID | str
# An execution by its id, or by the function, or its name, and the key that the execution holds.
Target = Identifier | tuple[Any, str]


def enqueue(
    function: str, args: Mapping[str, Any] | Sequence[Any], options: Mapping[str, Any] | None
) -> database.Call[UUID]:
    """Enqueue a function by its name."""
    what = f"the arguments of {function}()"
    given = dict(args) if isinstance(args, Mapping) else list(args)
    return database.enqueue(
        function,
        codec.encode(given or {}, what=what),
        {"id": str(models.new_id()), **(options or {})},
    )


def retry(execution: Identifier, options: Mapping[str, Any]) -> database.Call[UUID]:
    """Run an execution again."""
    return database.retry(execution, {"id": str(models.new_id()), **options})


def cancel(
    execution: Identifier, reason: str | None, *, force: bool
) -> database.Call[models.Status]:
    """Ask for an execution's cancellation, or enforce it."""
    return database.cancel(execution, reason, {"force": True} if force else {})


def signal(to: Target, name: str, value: Any, key: str | None) -> database.Call[int]:
    """Send a signal.

    Args:
        key: under which it is delivered once; None: every call of this is another signal.

    Raises:
        InvalidArgument: there is no such target, name or key.
        EncodingError: the value cannot be sent.
    """
    encoded = payload(name, value)
    if key is not None and not is_name(key, LONGEST_KEY):
        raise InvalidArgument(
            f"the key of signal {name!r} has to be a text of 1 to {LONGEST_KEY} characters,"
            f" not {key!r:.200}"
        )
    options = {"id": str(models.new_id())} if key is None else {"key": key}
    found = target(to)
    if isinstance(found, UUID):
        return database.signal(found, name, encoded, options)
    return database.signal_by_key(*found, name, encoded, options)


def target(to: Target) -> UUID | tuple[str, str]:
    """Whom a signal is for: an execution's id, or a function's name and a key.

    Raises:
        InvalidArgument: it says neither.
    """
    if isinstance(to, UUID):
        return to
    if isinstance(to, tuple):
        if len(to) == 2:
            function, key = getattr(to[0], "name", to[0]), to[1]
            if is_name(function, LONGEST_FUNCTION) and is_name(key, LONGEST_KEY):
                return str(function), key
    elif isinstance(to, str):
        try:
            return UUID(to)
        except ValueError:
            pass
    raise InvalidArgument(
        f"{to!r:.200} is not an execution id",
        hint="ids are UUIDs; (function, key) is the execution that holds the key",
    )


def payload(name: str, value: Any) -> str:
    """The JSON of a signal's payload."""
    api.check_signal_name(name)
    return codec.encode(value, what=f"the payload of signal {name!r}")


def timed_out(execution: Identifier, limit: float | None) -> TimeoutError:
    """What is raised to somebody who waited in vain."""
    return TimeoutError(f"execution {execution} has not ended within {limit:g} seconds")

"""The options of decorators and of `.options()`: their names, and what values they take."""

import math
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, TypedDict
from uuid import UUID

import msgspec

from currant import codec
from currant.arguments import Seconds, is_name, seconds
from currant.errors import OptionError


class CallOptions(TypedDict, total=False):
    """What `.options()` takes. Durations are seconds or a timedelta."""

    queue: str
    priority: int
    retries: int
    timeout: Seconds
    delay: Seconds
    run_at: datetime
    key: str
    key_scope: str
    id: UUID | str
    version: int
    headers: Mapping[str, Any]
    retry_delay: Seconds
    retry_backoff: float
    retry_max_delay: Seconds
    on_parent_end: str
    signal_key: str
    connection: Any
    client: Any


class TaskOptions(TypedDict, total=False):
    """What `@task` takes."""

    name: str | None
    queue: str | None
    retries: int | None
    timeout: Seconds | None
    priority: int | None
    retry_delay: Seconds | None
    retry_backoff: float | None
    retry_max_delay: Seconds | None
    non_retryable: type[BaseException] | tuple[type[BaseException], ...]
    transactional: bool


class WorkflowOptions(TypedDict, total=False):
    """What `@workflow` takes."""

    name: str | None
    queue: str | None
    version: int
    timeout: Seconds | None
    priority: int | None


# Not for the database, but for how the call gets there.
CARRIERS = ("connection", "client")
# A workflow is not run again when it has failed.
TASKS_ONLY = ("retries", "retry_delay", "retry_backoff", "retry_max_delay")
# A task ends with the workflow that runs it, and takes no signals.
WORKFLOWS_ONLY = ("on_parent_end", "signal_key")


def check(
    given: Mapping[str, Any], known: Iterable[str], *, where: str, is_none_fine: bool = False
) -> dict[str, Any]:
    """The options with their values as JSON takes them.

    Args:
        where: where they were given, for errors, such as "@task" or "send_email.options()".
        is_none_fine: whether None means that an option was not given.

    Raises:
        OptionError: a name is unknown or a value is wrong.
    """
    known = tuple(known)
    for name in given:
        if name not in known:
            raise OptionError(
                f"{where} has no option {name!r}", hint=f"known options: {', '.join(known)}"
            )
    return {
        name: _checked(name, value, where)
        for name, value in given.items()
        if not (is_none_fine and value is None)
    }


def _checked(name: str, value: Any, where: str) -> Any:
    try:
        return _CHECKS[name](value)
    except _Wrong as wrong:
        raise OptionError(
            f"option {name} of {where} has to be {wrong}, not {value!r:.200}"
        ) from wrong.__cause__


class _Wrong(Exception):
    """What the value should have been."""


def _text(longest: int) -> Callable[[Any], str]:
    def check_text(value: Any) -> str:
        if not is_name(value, longest):
            raise _Wrong(f"a text of 1 to {longest} characters")
        return str(value)

    return check_text


def _whole(smallest: int, largest: int) -> Callable[[Any], int]:
    def check_whole(value: Any) -> int:
        is_whole = isinstance(value, int) and not isinstance(value, bool)
        if not is_whole or not smallest <= value <= largest:
            raise _Wrong(f"a whole number from {smallest} to {largest}")
        return int(value)

    return check_whole


_LONGEST = timedelta(days=36500).total_seconds()


def _duration(*, is_zero_fine: bool) -> Callable[[Any], float]:
    def check_duration(value: Any) -> float:
        least = "from 0" if is_zero_fine else "over 0"
        wrong = _Wrong(f"seconds {least} or a timedelta")
        try:
            duration = seconds(value, what="it")
        except TypeError:
            raise wrong from None
        if not 0 <= duration <= _LONGEST or (duration == 0 and not is_zero_fine):
            raise wrong
        return duration

    return check_duration


def _backoff(value: Any) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value) or not 1 <= value <= 1_000_000:
        raise _Wrong("a number from 1 to 1000000")
    return float(value)


def _moment(value: Any) -> str:
    if not isinstance(value, datetime):
        raise _Wrong("a datetime")
    if value.utcoffset() is None:
        raise _Wrong("a datetime with a time zone, such as datetime(…, tzinfo=UTC)")
    return value.isoformat()


def _one_of(*words: str) -> Callable[[Any], str]:
    def check_word(value: Any) -> str:
        if value not in words:
            raise _Wrong(" or ".join(map(repr, words)))
        return str(value)

    return check_word


def _id(value: Any) -> str:
    try:
        return str(value if isinstance(value, UUID) else UUID(value))
    except (ValueError, AttributeError, TypeError):
        raise _Wrong("a UUID") from None


def _headers(value: Any) -> Any:
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise _Wrong("a mapping from texts to values for JSON")
    # Headers are for whoever looks on, in SQL too: no payload hook sees them.
    return msgspec.json.decode(codec.plain(dict(value), what="option headers"))


def _errors(value: Any) -> tuple[type[BaseException], ...]:
    kinds = value if isinstance(value, tuple) else (value,)
    if not all(isinstance(kind, type) and issubclass(kind, BaseException) for kind in kinds):
        raise _Wrong("an exception class or a tuple of them")
    return kinds


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise _Wrong("True or False")
    return value


def _anything(value: Any) -> Any:
    return value


_CHECKS: dict[str, Callable[[Any], Any]] = {
    "name": _text(500),
    "queue": _text(200),
    "priority": _whole(-1_000_000, 1_000_000),
    "retries": _whole(0, 1_000_000),
    "timeout": _duration(is_zero_fine=False),
    "delay": _duration(is_zero_fine=True),
    "run_at": _moment,
    "key": _text(1000),
    "key_scope": _one_of("always", "open"),
    "id": _id,
    "version": _whole(1, 1_000_000_000),
    "headers": _headers,
    "retry_delay": _duration(is_zero_fine=True),
    "retry_backoff": _backoff,
    "retry_max_delay": _duration(is_zero_fine=True),
    "on_parent_end": _one_of("cancel", "abandon"),
    "signal_key": _text(1000),
    "non_retryable": _errors,
    "transactional": _flag,
    "connection": _anything,
    "client": _anything,
}

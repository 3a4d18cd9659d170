"""Calling a function once whose value every replay is told."""

import asyncio
import inspect
import json
from collections.abc import Callable
from typing import Any

import msgspec

from currant.errors import SideEffectFailed
from currant.failures import describe
from currant.workflow.loop import Interrupted, is_ctrl_c


class _Outcome(msgspec.Struct):
    value: msgspec.Raw = msgspec.Raw(b"null")
    error: dict[str, Any] | None = None


_read = msgspec.json.Decoder(_Outcome).decode


def check(function: object) -> None:
    """Raise TypeError if it is no function that can be called here and now."""
    if not callable(function):
        raise TypeError(f"side_effect() takes a function, not {function!r:.200}")
    called = getattr(function, "func", function)  # what a functools.partial calls
    if inspect.iscoroutinefunction(called) or inspect.iscoroutinefunction(
        getattr(called, "__call__", None)  # noqa: B004  (of an object, not whether it has one)
    ):
        raise TypeError(
            f"side_effect() takes a plain function, and {name_of(function)} is a coroutine"
            " function: what has to wait belongs into a task"
        )


def name_of(function: object) -> str:
    """What the function is called in the history."""
    called = getattr(function, "func", function)
    name = getattr(called, "__qualname__", None) or type(called).__qualname__
    return str(name)[:500]


def perform(function: Callable[[], Any], encode: Callable[[Any], str]) -> str:
    """Call it; gives its value or its error as JSON text.

    Nothing of the workflow is within its reach: what it asked for would be missing in a replay.
    """
    loop = asyncio._get_running_loop()
    try:
        asyncio._set_running_loop(None)
        value = function()
        if inspect.iscoroutine(value):
            value.close()
            raise TypeError(f"{name_of(function)} gave a coroutine, which nothing would wait for")
        return f'{{"value":{encode(value)}}}'
    except (Interrupted, MemoryError):
        raise
    except BaseException as error:
        if is_ctrl_c(error):
            raise
        if error.__traceback__ is not None:
            error.__traceback__ = error.__traceback__.tb_next  # without this function
        return json.dumps({"error": describe(error)})
    finally:
        asyncio._set_running_loop(loop)


def outcome(recorded: str, function: str, decode: Callable[[str], Any]) -> Any:
    """The value that was recorded.

    Raises:
        SideEffectFailed: it was an error.
    """
    found = _read(recorded)
    if found.error is not None:
        raise SideEffectFailed.from_json(found.error, function=function)
    return decode(bytes(found.value).decode())

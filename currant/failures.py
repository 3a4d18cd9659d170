"""How an exception is written down: as JSON that can be stored, and in short.

An error that came from elsewhere keeps its own words. What it says is stored below the error that
it led to, as its "cause", level by level, and each level has its own part of the traceback only.
"""

import os
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from currant.errors import CurrantError, RemoteError

T = TypeVar("T")

_MAX_TYPE = 500
_MAX_MESSAGE = 10_000
_MAX_TRACEBACK = 50_000
# For all causes of an error together, so that any chain can be stored.
_MAX_CAUSES = 16
_MAX_OF_CAUSES = 80_000

_OWN = str(Path(__file__).parent) + os.sep
# Of a group's exceptions, so many are named in its message, each with so much of its own.
_MAX_NAMED = 3
_MAX_OF_NAMED = 200


def describe(error: BaseException, *, retryable: bool | None = None) -> dict[str, Any]:
    """The error as JSON can hold it: type, message, traceback, cause, retryable if it is not.

    Any text comes out storable: NUL and lone surrogates are replaced, long ones are cut. What the
    error does not let be read is left out; a failure is told whatever it is made of.
    """
    remote = _tried(lambda: _remote_in(error), None)
    described: dict[str, Any] = {
        "type": _tried(lambda: storable(_type_of(error), _MAX_TYPE), "Exception"),
        "message": _tried(lambda: storable(_reason_of(error), _MAX_MESSAGE), ""),
        "traceback": _tried(lambda: storable(_traceback_of(error, remote), _MAX_TRACEBACK), ""),
    }
    if remote is not None:
        cause = _tried(lambda: _describe_causes(remote), None)
        if cause is not None:
            described["cause"] = cause
    if retryable is False:
        described["retryable"] = False
    return described


def in_words(error: BaseException) -> str:
    """The type and the message of an error; storable."""
    text = f"{_tried(lambda: _type_of(error), 'Exception')}: {_text_of(error)}"
    return storable(text)


def in_short(described: Mapping[str, Any]) -> str:
    """The type and the first line of the message of an error that was described."""
    lines = str(described.get("message") or "").splitlines() or [""]
    return f"{described.get('type')}: {lines[0]}"


def storable(text: str, limit: int = _MAX_MESSAGE) -> str:
    """The text without what PostgreSQL cannot store in JSON; the middle of a long one is cut."""
    if len(text) > limit:
        half = limit // 2
        text = f"{text[:half]}\n… {len(text) - 2 * half} characters left out …\n{text[-half:]}"
    text = text.replace("\x00", "\N{REPLACEMENT CHARACTER}")
    return text.encode("utf-8", "replace").decode()


def leaves(error: BaseException) -> Iterator[BaseException]:
    """What is in a group at any depth; of any other error itself."""
    waiting = [error]
    while waiting:
        each = waiting.pop()
        if isinstance(each, BaseExceptionGroup):
            waiting += reversed(each.exceptions)
        else:
            yield each


def _tried(write: Callable[[], T], otherwise: T) -> T:
    # Much of an exception is the user's code and may raise anything; the failure still must be
    # told. Only who waits at the terminal is not to be kept waiting.
    try:
        return write()
    except KeyboardInterrupt:
        raise
    except BaseException:
        return otherwise


def _type_of(error: BaseException) -> str:
    # The name of the error that began it all says more than the name of its envelope.
    return error.type if isinstance(error, RemoteError) else type(error).__name__


def _reason_of(error: BaseException) -> str:
    return error.reason if isinstance(error, RemoteError) else _text_of(error)


def _text_of(error: BaseException) -> str:
    # Not one of a class derived from str, whose methods may be anything.
    unreadable = f"<{type(error).__name__} whose text cannot be read>"
    text = _tried(lambda: str.__str__(str(error)), unreadable)
    if isinstance(error, BaseExceptionGroup):
        # Its own message, often asyncio's, says only how many there are.
        unread: list[BaseException] = []
        inner = _tried(lambda: list(leaves(error)), unread)
        named = [_named(each) for each in inner[:_MAX_NAMED]]
        rest = [f"{len(inner) - _MAX_NAMED} more"] if len(inner) > _MAX_NAMED else []
        text = f"{text}: {'; '.join(named + rest)}"
    return text


def _named(error: BaseException) -> str:
    text = " ".join(_text_of(error).split())
    if len(text) > _MAX_OF_NAMED:
        text = f"{text[:_MAX_OF_NAMED]}…"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _remote_in(error: BaseException) -> RemoteError | None:
    """The first remote error in what led to the error, as Python would print it."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        each = waiting.pop()
        if isinstance(each, RemoteError):
            return each
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        is_explicit = each.__cause__ is not None or each.__suppress_context__
        waiting.append(each.__cause__ if is_explicit else each.__context__)
        if isinstance(each, BaseExceptionGroup):
            waiting += reversed(each.exceptions)
    return None


def _traceback_of(error: BaseException, remote: RemoteError | None) -> str:
    """The traceback without what is told of a remote error in its own place."""
    # Compact: with no more than is printed, or what is printed would be missed elsewhere.
    shown = traceback.TracebackException.from_exception(error, compact=True)
    _leave_out(shown, error, remote)
    if error is remote:
        # Only where it passed through here.
        frames = "".join(shown.stack.format())
        return f"Traceback (most recent call last):\n{frames}" if frames else ""
    return "".join(shown.format())


def _leave_out(
    shown: traceback.TracebackException, error: BaseException, remote: RemoteError | None
) -> None:
    """Leave the frames of the user's code and his libraries, in all that is shown of an error.

    What is shown has not always the parts that the error has: each is shown once.
    """
    parts = [(shown, error)]
    while parts:
        part, of = parts.pop()
        part.stack = traceback.StackSummary.from_list(_others_frames(part.stack, of))
        if remote is not None:
            if of is remote:
                part.__notes__ = None
            if any(each is remote for each in (of, of.__cause__, of.__context__)):
                part.__cause__ = part.__context__ = None
        for below, led_to_it in (
            (part.__cause__, of.__cause__),
            (part.__context__, of.__context__),
            *zip(part.exceptions or (), getattr(of, "exceptions", ()), strict=False),
        ):
            if below is not None and led_to_it is not None:
                parts.append((below, led_to_it))


def _others_frames(
    stack: traceback.StackSummary, error: BaseException
) -> list[traceback.FrameSummary]:
    others = [frame for frame in stack if not frame.filename.startswith(_OWN)]
    if not others:
        # Something is wrong in here, or with values that no code of the user has seen.
        return list(stack)
    if isinstance(error, CurrantError):
        return others
    # Where somebody else's error was raised in here, it may be a mistake in here.
    last = max(place for place, frame in enumerate(stack) if frame is others[-1])
    return others + list(stack)[last + 1 :]


def _describe_causes(remote: RemoteError) -> dict[str, Any]:
    chain: list[RemoteError] = []
    following: RemoteError | None = remote
    while following is not None:
        chain.append(following)
        following = following.cause
    left_out = len(chain) - _MAX_CAUSES
    if left_out > 0:
        # The last one is where it all began.
        chain = [*chain[: _MAX_CAUSES - 1], chain[-1]]
    limit = _MAX_OF_CAUSES // len(chain)
    described: dict[str, Any] = {}
    for each in reversed(chain):
        described = _describe_remote(each, limit) | ({"cause": described} if described else {})
    return described


def _describe_remote(error: RemoteError, limit: int) -> dict[str, Any]:
    details = {
        "raised": type(error).__name__,
        "type": storable(error.type, limit // 10),
        "message": storable(error.reason, limit // 5),
        "traceback": error.traceback and storable(error.traceback, limit // 2),
        "function": error.function and storable(error.function, limit // 10),
        "execution_id": error.execution_id,
        "status": error.status,
        "attempts": error.attempts or None,
    }
    return {name: value for name, value in details.items() if value is not None}

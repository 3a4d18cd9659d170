"""How an exception is written down: as JSON that can be stored, and in short.

An error that came from elsewhere keeps its own words. What it says is stored below the error that
it led to, as its "cause", level by level, and each level has its own part of the traceback only.
"""

import os
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from currant.errors import CurrantError, RemoteError

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

    Any text comes out storable: NUL and lone surrogates are replaced, long ones are cut.
    """
    remote = _remote_in(error)
    reason = error.reason if isinstance(error, RemoteError) else _text_of(error)
    described: dict[str, Any] = {
        # The name of the error that began it all says more than the name of its envelope.
        "type": error.type if isinstance(error, RemoteError) else type(error).__name__,
        "message": storable(reason, _MAX_MESSAGE),
        "traceback": storable(_traceback_of(error), _MAX_TRACEBACK),
    }
    if remote is not None:
        described["cause"] = _describe_causes(remote)
    if retryable is False:
        described["retryable"] = False
    return described


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


def _text_of(error: BaseException) -> str:
    # An exception's own __str__ is the user's code and may raise; the failure still must be told.
    try:
        text = str(error)
    except Exception:
        text = f"<{type(error).__name__} whose text cannot be read>"
    if isinstance(error, BaseExceptionGroup):
        # Its own message, often asyncio's, says only how many there are.
        inner = list(_leaves(error))
        named = [_named(each) for each in inner[:_MAX_NAMED]]
        rest = [f"{len(inner) - _MAX_NAMED} more"] if len(inner) > _MAX_NAMED else []
        text = f"{text}: {'; '.join(named + rest)}"
    return text


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error


def _named(error: BaseException) -> str:
    text = " ".join(_text_of(error).split())
    if len(text) > _MAX_OF_NAMED:
        text = f"{text[:_MAX_OF_NAMED]}…"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and what led to it, as Python would print it, up to the first remote one."""
    seen: set[int] = set()
    following: BaseException | None = error
    while following is not None and id(following) not in seen:
        yield following
        if isinstance(following, RemoteError):
            return
        seen.add(id(following))
        if following.__cause__ is not None or following.__suppress_context__:
            following = following.__cause__
        else:
            following = following.__context__


def _remote_in(error: BaseException) -> RemoteError | None:
    return next((each for each in _chain(error) if isinstance(each, RemoteError)), None)


def _traceback_of(error: BaseException) -> str:
    """The traceback without what is told of a remote error in its own place."""
    shown = traceback.TracebackException.from_exception(error)
    _leave_out_own_frames(shown, error)
    if isinstance(error, RemoteError):
        # Only where it passed through here.
        frames = "".join(shown.stack.format())
        return f"Traceback (most recent call last):\n{frames}" if frames else ""
    part: traceback.TracebackException | None = shown
    for following in list(_chain(error))[1:]:
        assert part is not None
        if isinstance(following, RemoteError):
            part.__cause__ = part.__context__ = None
            break
        part = part.__cause__ or part.__context__
    return "".join(shown.format())


def _leave_out_own_frames(shown: traceback.TracebackException, error: BaseException) -> None:
    """Leave the frames of the user's code and his libraries, in all that is shown of an error."""
    parts = [(shown, error)]
    while parts:
        part, of = parts.pop()
        part.stack = traceback.StackSummary.from_list(_others_frames(part.stack, of))
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

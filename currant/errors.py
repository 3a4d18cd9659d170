"""Every error that Currant raises.

CurrantError
├── SettingsError                 an environment variable or option has a bad value
├── DefinitionError               a decorator or a signature cannot be used
├── OptionError                   .options(): unknown name or wrong value
├── PayloadError
│   ├── EncodingError             a value cannot be sent
│   └── DecodingError             stored JSON does not fit the annotation
├── DatabaseError                 whatever the database answered
│   ├── DatabaseUnavailable       not reachable, or the connection was lost for too long
│   ├── InvalidArgument           22023, 22004
│   ├── UnknownFunction           KR001
│   ├── UnknownWorker             KR002
│   ├── AlreadyEnded              KR003
│   ├── ExecutionNotFound         KR004
│   ├── PayloadTooLarge           KR005
│   ├── NotEnded                  KR006
│   ├── NoResult                  KR007
│   ├── IsolationRefused          KR008
│   └── SchemaError
│       ├── SchemaMissing
│       ├── SchemaOlder
│       └── SchemaNewer
├── EmbeddedError
│   └── EmbeddedMissing           no URL and no embedded server installed
├── MigrationError
│   └── SqitchMissing             sqitch or psql is not installed
├── RemoteError                   it ran somewhere else and did not end well
│   ├── ExecutionFailed           seen by a client waiting for a result
│   ├── TaskFailed                seen by a workflow, of a task
│   ├── ChildFailed               seen by a workflow, of another workflow
│   ├── SideEffectFailed          seen by a workflow, of side_effect()
│   └── Cancelled                 the outcome, not asyncio's request to stop
├── Retry                         raised by a task: run me again
├── NotInTask                     only a running task may call this
├── NotAllowedInLoop              this would block the event loop it is called in
└── WorkflowError
    ├── NotInWorkflow             only a workflow may call this
    ├── NotAllowedInWorkflow      a workflow may not call this
    ├── NonDeterminism            replay took another path than the history
    ├── UnsupportedVersion        get_version: recorded outside min..max
    └── WorkflowDeadlock          the loop is stuck, or waits for what cannot come

ContinueAsNew, raised by continue_as_new(), is no error and stands outside.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Self

# A chain of causes that is read is no longer than one that is written; others may write them too.
_MOST_CAUSES = 50


class CurrantError(Exception):
    """Base of all of them.

    `str()` is one line: what went wrong, the details, and what to do about it.
    """

    def __init__(self, message: str, *, detail: str | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.detail = detail
        self.hint = hint

    def __str__(self) -> str:
        text = self.message
        if self.detail and self.detail != self.message:
            text += f": {self.detail}"
        if self.hint:
            text += f" ({self.hint})"
        return text

    def __reduce__(self) -> tuple[Any, ...]:
        # Exception's own form calls the class with args alone, which not every subclass accepts.
        return _restore, (type(self), self.args, self.__dict__)


def _restore(
    kind: type[CurrantError], args: tuple[Any, ...], state: dict[str, Any]
) -> CurrantError:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(state)
    if isinstance(error, RemoteError):
        error.__cause__ = error.cause
    return error


class SettingsError(CurrantError, ValueError):
    """A setting has a value that cannot be used; the message names the variable."""


class DefinitionError(CurrantError, TypeError):
    """A function cannot be a task or workflow as it is written."""


class OptionError(CurrantError, TypeError, ValueError):
    """An option does not exist or has a wrong value; the message names it."""


class PayloadError(CurrantError):
    """A value and its JSON do not fit together."""


class EncodingError(PayloadError, TypeError):
    """A value cannot be sent; the message names it and says why."""


class DecodingError(PayloadError, ValueError):
    """Stored JSON does not fit the annotation; the message names both."""


class DatabaseError(CurrantError):
    """The database refused. `sqlstate` says why, for programs."""

    sqlstate: str | None = None


class DatabaseUnavailable(DatabaseError, ConnectionError):
    """The database cannot be reached, or not for as long as a call is patient."""


class InvalidArgument(DatabaseError, ValueError):
    """A function of the database was called with a wrong argument."""


class UnknownFunction(DatabaseError, LookupError):
    """Nobody has registered a function of that name, and no queue was named."""


class UnknownWorker(DatabaseError, LookupError):
    """The worker is not registered, or was declared dead."""


class AlreadyEnded(DatabaseError):
    """The execution has ended; nothing more can happen to it."""


class ExecutionNotFound(DatabaseError, LookupError):
    """No execution has this id."""


class PayloadTooLarge(DatabaseError, ValueError):
    """Arguments, a result or a signal are larger than the installation allows."""


class NotEnded(DatabaseError):
    """The execution has not ended yet."""


class NoResult(DatabaseError):
    """The execution ended without a result: it failed or was cancelled."""


class IsolationRefused(DatabaseError):
    """The transaction's isolation level is not READ COMMITTED."""


class SchemaError(DatabaseError):
    """The schema in the database and this package do not belong together."""


class SchemaMissing(SchemaError):
    """The database has no schema `currant`."""


class SchemaOlder(SchemaError):
    """The schema in the database is older than this package needs."""


class SchemaNewer(SchemaError):
    """The schema in the database is newer than this package understands."""


class EmbeddedError(CurrantError):
    """The embedded server cannot be set up or started."""


class EmbeddedMissing(EmbeddedError):
    """No database is named, and the embedded server is not installed."""


class MigrationError(CurrantError):
    """The schema could not be deployed or checked."""


class SqitchMissing(MigrationError):
    """A program that migrating needs is not installed."""


class RemoteError(CurrantError):
    """Something that ran elsewhere did not end well.

    Printed with its traceback, it shows the remote one too, and those of its causes.

    Attributes:
        type: name of the exception's type there ("ValueError", "Timeout", "WorkerLost", …).
        reason: its message.
        traceback: its traceback as text, or None. What a cause has is not repeated.
        attempts: how many attempts were made.
        execution_id: which execution it was, or None.
        function: its function's name, or None.
        status: how that ended, "failed" or "cancelled", or None.
        cause: the remote error that led to it, such as that of a task in a child, or None.
    """

    def __init__(
        self,
        type: str,  # noqa: A002  (the attribute is called so, and so is the JSON key)
        reason: str = "",
        *,
        traceback: str | None = None,
        attempts: int = 0,
        execution_id: str | None = None,
        function: str | None = None,
        status: str | None = None,
        cause: "RemoteError | None" = None,
    ) -> None:
        self.type = type
        self.reason = reason
        self.traceback = traceback
        self.attempts = attempts
        self.execution_id = execution_id
        self.function = function
        self.status = status
        self.cause = self.__cause__ = cause
        super().__init__(self._describe())
        if traceback and traceback.strip():
            self.add_note(f"Remote traceback:\n{traceback.rstrip()}")

    @classmethod
    def from_json(
        cls,
        error: Any,
        *,
        attempts: int | None = None,
        execution_id: str | None = None,
        function: str | None = None,
        status: str | None = None,
    ) -> Self:
        """The exception for an error as the database stores it (decoded JSON)."""
        known = error if isinstance(error, dict) else {"message": "" if error is None else error}
        return cls(
            **{
                **_stored(known),
                "attempts": _whole(known.get("attempts")) if attempts is None else attempts,
                "execution_id": execution_id,
                "function": function,
                "status": status or _text(known.get("status")),
                "cause": _cause_of(known),
            }
        )

    def _describe(self) -> str:
        parts = [self.function or "execution"]
        if self.execution_id:
            parts.append(self.execution_id)
        is_cancelled = self.status == "cancelled"
        parts.append("was cancelled" if is_cancelled else "failed")
        if self.attempts > 1 and not is_cancelled:
            parts.append(f"after {self.attempts} attempts")
        # That it was cancelled is not said twice.
        reasons = [] if is_cancelled and self.type == "Cancelled" else [self.type]
        return ": ".join([" ".join(parts), *reasons, *filter(None, [self.reason])])


class ExecutionFailed(RemoteError):
    """The execution whose result was waited for has failed."""


class TaskFailed(RemoteError):
    """A task that a workflow ran has failed, timed out, or was cancelled by somebody else."""


class ChildFailed(RemoteError):
    """A workflow that a workflow ran has failed, timed out, or was cancelled by somebody else."""


class SideEffectFailed(RemoteError):
    """The function given to `side_effect` raised; every replay raises this, and runs nothing."""


class Cancelled(RemoteError):
    """The execution was cancelled: an outcome.

    Not `asyncio.CancelledError`, which asks running code to stop.
    """

    def __init__(self, type: str = "Cancelled", reason: str = "", **details: Any) -> None:  # noqa: A002
        super().__init__(type, reason, **{**details, "status": "cancelled"})


def _cause_of(known: Mapping[str, Any]) -> RemoteError | None:
    """The causes below an error as the database stores it, innermost first made."""
    chain: list[Mapping[str, Any]] = []
    below = known.get("cause")
    while isinstance(below, dict) and len(chain) < _MOST_CAUSES:
        chain.append(below)
        below = below.get("cause")
    cause: RemoteError | None = None
    for each in reversed(chain):
        kind = _CAUSES.get(str(each.get("raised")), RemoteError)
        cause = kind(
            **_stored(each),
            attempts=_whole(each.get("attempts")),
            execution_id=_text(each.get("execution_id")),
            function=_text(each.get("function")),
            status=_text(each.get("status")),
            cause=cause,
        )
    return cause


def _stored(known: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": str(known.get("type") or "Error"),
        "reason": str(known.get("message") or ""),
        "traceback": _text(known.get("traceback")),
    }


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _whole(value: Any) -> int:
    return value if isinstance(value, int) else 0


_CAUSES: dict[str, type[RemoteError]] = {
    kind.__name__: kind
    for kind in (ExecutionFailed, TaskFailed, ChildFailed, SideEffectFailed, Cancelled)
}


class Retry(CurrantError):
    """Raised by a task: this attempt did not work out, try again.

    Args:
        reason: shown with the attempt.
        delay: seconds or a timedelta until then; None leaves it to the retry policy.
    """

    def __init__(self, reason: str = "", *, delay: float | timedelta | None = None) -> None:
        super().__init__(reason or "the task asked to be run again")
        seconds = delay.total_seconds() if isinstance(delay, timedelta) else delay
        if isinstance(seconds, bool) or not isinstance(seconds, int | float | None):
            raise TypeError(f"delay has to be seconds or a timedelta, not {delay!r}")
        # The comparison is written so that NaN is refused too.
        if seconds is not None and not 0 <= seconds < float("inf"):
            raise ValueError(f"delay has to be 0 or more, not {delay!r}")
        self.delay = None if seconds is None else timedelta(seconds=seconds)


class NotInTask(CurrantError, RuntimeError):
    """Only code inside a running task may call this."""


class NotAllowedInLoop(CurrantError, RuntimeError):
    """Called in an event loop, it would block everything else there."""


class WorkflowError(CurrantError):
    """Something about a workflow's code or its history."""


class NotInWorkflow(WorkflowError, RuntimeError):
    """Only code inside a workflow may call this."""


class NotAllowedInWorkflow(WorkflowError, RuntimeError):
    """Code inside a workflow may not call this, since it would run again at every replay."""


class NonDeterminism(WorkflowError):
    """The workflow's code does not do what its history says it did."""


class UnsupportedVersion(WorkflowError):
    """The run recorded a version that this code no longer, or not yet, supports."""


class WorkflowDeadlock(WorkflowError):
    """The workflow does not give way, or waits for something that can never happen."""


class ContinueAsNew(BaseException):
    """A workflow goes on as a new run of itself; raised by `continue_as_new`.

    No error, and not to be caught: `except Exception` lets it pass.

    Attributes:
        arguments: of the new run, as JSON text.
    """

    def __init__(self, arguments: str) -> None:
        super().__init__("the workflow continues as new")
        self.arguments = arguments

"""What a worker reports: the calls that carry it, and what stands for what cannot be stored."""

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

import msgspec
import psycopg

from currant import database, errors, failures, functions, models
from currant.models import Report

# SQLSTATEs of Currant that say that a report cannot be stored as it is.
_REFUSALS: Final = frozenset({"KR001", "KR003", "KR004", "KR005"})
# One of the database's own limits is exceeded, by one of the reports or by all together.
_TOO_MUCH: Final = "54000"
_UNSTORABLE: Final = '{"type":"Error","message":"the error could not be stored","retryable":false}'


def worker_needed(
    claimed: models.Claimed, function: functions.Function[..., Any, Any] | None
) -> str | None:
    """The worker, in words, that what was claimed needs; None if this one will do."""
    if function is None or function.kind != claimed.kind:
        return f"a worker that knows the {claimed.kind} {claimed.function}"
    if claimed.version > function.declaration.version:
        return f"a worker that has version {claimed.version} of {claimed.function}"
    return None


def is_bad_data(error: psycopg.Error) -> bool:
    """Whether something in the call cannot be stored, so that sending it again is of no use."""
    state = error.sqlstate or ""
    return state[:2] in {"22", "23"} or state in _REFUSALS or state == _TOO_MUCH


def leases_of(report: Report) -> Sequence[tuple[UUID, int]]:
    """Execution and token of the leases that a report is about."""
    if isinstance(report, models.Step):
        return [(one.execution_id, one.token) for one in report.completions]
    return [(report.execution_id, report.token)]


def tasks_asked_for(reports: Sequence[Report]) -> int:
    """How many tasks workflows ask for with these reports."""
    return sum([one.tasks for one in reports if isinstance(one, models.Activation | models.Step)])


def calls_of(
    worker: UUID, reports: Sequence[Report], direct: tuple[Sequence[str], int] | None = None
) -> list[tuple[Sequence[Report], database.Call[Any]]]:
    """One call for each kind of report, with the reports that it carries.

    Args:
        direct: queues whose tasks the worker takes when workflows ask for them, and how many.
    """
    by_kind: dict[type[Report], list[Any]] = {}
    for report in reports:
        kind = models.Activation if type(report) is models.Step else type(report)
        by_kind.setdefault(kind, []).append(report)
    calls: list[tuple[Sequence[Report], database.Call[Any]]] = []
    if advances := by_kind.get(models.Activation):
        # First, for a step is refused if its workflow has been told of something else.
        calls.append((advances, database.step_many(worker, advances, direct)))
    if completions := by_kind.get(models.Completion):
        calls.append((completions, database.complete_many(worker, completions)))
    if failures := by_kind.get(models.Failure):
        calls.append((failures, database.fail_many(worker, failures)))
    if releases := by_kind.get(models.Release):
        calls.append((releases, database.release_many(worker, releases)))
    return calls


def blocked(execution: UUID, token: int, last_event: int, reason: str) -> models.Activation:
    """Instead of an activation's commit: the workflow cannot go on, and this is why."""
    options = msgspec.json.encode({"blocked": reason}).decode()
    return models.Activation(execution, token, last_event, (), "[]", options, blocked=reason)


def _failed(refused: models.Activation, reason: errors.CurrantError) -> models.Activation:
    """The same activation, ending the workflow with the reason instead of what it asked for."""
    begins = "started" in msgspec.json.decode(refused.options)
    last = refused.last_event + len(refused.arrivals) + begins
    error = failures.describe(reason, retryable=False)
    fail = {"event": last, "kind": "fail", "payload": {"error": error}}
    commands = msgspec.json.encode([fail]).decode()
    return msgspec.structs.replace(refused, commands=commands, has_failed=True)


def replacement(report: Report, reason: errors.CurrantError) -> Report | None:
    """What stands for a report that the database refused: a failure, or a reason for blocking.

    None if nothing more can be said: the replacement itself was refused, or it was a release.
    """
    execution, token = report.execution_id, report.token
    match report:
        case models.Completion():
            failure = msgspec.json.encode(failures.describe(reason, retryable=False)).decode()
            return models.Failure(execution, token, failure)
        case models.Failure(error=error) if error != _UNSTORABLE:
            return models.Failure(execution, token, _UNSTORABLE)
        case models.Activation(has_failed=False) if isinstance(reason, errors.PayloadTooLarge):
            # Its code asked for something too large, and would again.
            return _failed(report, reason)
        case models.Activation(blocked=None):
            return blocked(execution, token, report.last_event, str(reason))
        case _:
            return None

"""An execution's story, step by step, with waits and attempts.

Plain data; history.py lays it out.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec

from currant.cli.render import between, compact_json, error_line, seconds
from currant.models import ExecutionState, ExecutionSummary, HistoryEntry, Status, TreeNode

# What a workflow started. Only the state tells of attempts that failed; the rest is in both.
Child = ExecutionState | ExecutionSummary

CONTINUED = "continued as new"
_OPEN = "open"
_AWAITED = ("task", "child", "attach", "timer")


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt at a task that failed, or was lost with its worker."""

    number: int
    worker: str
    started_at: datetime
    ended_at: datetime | None
    error: str


@dataclass(slots=True)
class Step:
    """One line of the story; `execution` is the other one that it is about."""

    at: datetime
    what: str
    outcome: str = ""
    waited: timedelta | None = None
    ran: timedelta | None = None
    source: str = ""
    execution: UUID | None = None
    attempts: list["Step"] = field(default_factory=list)
    is_taken_back: bool = False

    def lines(self) -> Iterable["Step"]:
        """Return the step and, below it, its attempts."""
        return [self, *self.attempts]


def failed_attempts(state: Child) -> list[Attempt]:
    """Return the attempts that an execution's state tells of; the one that ended it well is not."""
    told = state.attempts if isinstance(state, ExecutionState) else None
    stored = msgspec.json.decode(told) if told else None
    return [
        Attempt(
            number=int(one["attempt"]),
            worker=str(one.get("worker") or ""),
            started_at=_moment(one.get("started_at")) or state.created_at,
            ended_at=_moment(one.get("ended_at")),
            error=error_line(one.get("error")) or "failed",
        )
        for one in stored or []
    ]


def of_task(state: ExecutionState) -> list[Step]:
    """Tell what became of a task."""
    steps = [Step(state.created_at, "enqueued", f"on {state.queue}")]
    last = state.created_at
    failed = failed_attempts(state)
    for attempt in failed:
        steps.append(_attempt_step(attempt, since=last))
        last = attempt.ended_at or last
    if state.status.is_end and (not failed or state.status != Status.FAILED):
        steps.append(_last_attempt(state, since=last))
    elif not state.status.is_end:
        steps.append(_now(state, since=last))
    return steps


def runs_of(entries: Sequence[HistoryEntry]) -> list[list[HistoryEntry]]:
    """Part a history into its runs; each but the last ends with having continued as new.

    The last may be empty: it has continued, and nothing has come of it yet.
    """
    runs: list[list[HistoryEntry]] = [[]]
    ended_at = 0  # event under which the run continued as new
    for entry in entries:
        if ended_at and entry.event > ended_at:
            runs.append([])
            ended_at = 0
        runs[-1].append(entry)
        if entry.position and entry.kind == "continue_as_new":
            ended_at = entry.event
    return [*runs, []] if ended_at else runs


def of_workflow(
    state: ExecutionState,
    entries: Sequence[HistoryEntry],
    children: Mapping[UUID, Child],
    *,
    is_whole: bool = True,
) -> list[Step]:
    """Tell what a workflow did, from its history and the states of what it started.

    Args:
        is_whole: tell of the runs that it has continued, too, not of the present one alone.
    """
    *earlier, present = runs_of(entries)
    story = _Story(state, children)
    if is_whole or not earlier:
        story.begin()
        for run in earlier:
            story.add(run)
    else:
        story.add(entry for entry in earlier[-1] if entry.kind == "continue_as_new")
    story.add(present)
    return story.told()


class _Story:
    def __init__(self, state: ExecutionState, children: Mapping[UUID, Child]) -> None:
        self._state = state
        self._children = children
        self._steps: list[Step] = []
        self._by_number: dict[int, Step] = {}
        self._tasks: set[int] = set()
        self._last_event = state.created_at
        self._is_ended = False

    def begin(self) -> None:
        state = self._state
        self._steps.append(Step(state.created_at, "enqueued", f"on {state.queue}"))

    def add(self, entries: Iterable[HistoryEntry]) -> None:
        for entry in entries:
            if entry.position == 0:
                self._add_event(entry)
                self._last_event = entry.at
            else:
                self._add_command(entry)

    def told(self) -> list[Step]:
        if not self._is_ended:
            self._steps.append(_now(self._state, since=self._last_event))
        return self._steps

    def _add_event(self, entry: HistoryEntry) -> None:
        payload = entry.payload
        match entry.kind:
            case "started":
                version = _read(payload).get("version", self._state.version)
                step = Step(entry.at, "started", f"version {version}")
                step.waited = entry.at - self._last_event
                self._steps.append(step)
            case "task_completed" | "child_completed" | "attached_completed":
                self._resolve(entry, _with_result("completed", payload))
            case "task_failed" | "child_failed" | "attached_failed":
                status = str(_read(payload).get("status", "failed"))
                self._resolve(entry, with_reason(status, error_line(payload)))
            case "timer_fired":
                self._resolve(entry, "fired")
            case "signal_received":
                waited = None if self._tasks else entry.at - self._last_event
                what = f"signal {entry.name} received"
                value = "" if payload == "null" else compact_json(payload)
                self._steps.append(Step(entry.at, what, value, waited=waited))
            case "cancel_requested":
                reason = _read(payload).get("reason")
                self._steps.append(Step(entry.at, "asked to cancel", str(reason or "")))
            case _:
                name = " ".join(part for part in (entry.kind, entry.name) if part)
                self._steps.append(Step(entry.at, name, compact_json(payload)))

    def _add_command(self, entry: HistoryEntry) -> None:
        match entry.kind:
            case "complete" | "fail" | "cancelled":
                # The history does not repeat the result: it is the execution's.
                self._is_ended = True
                self._steps.append(_now(self._state, since=entry.at))
            case "cancel":
                self._cancel(entry)
            case "continue_as_new":
                self._continue(entry)
            case _:
                self._ask(entry)

    def _ask(self, entry: HistoryEntry) -> None:
        step = Step(entry.at, *_command(entry), source=entry.source or "")
        step.execution = entry.execution_id or _receiver(_read(entry.payload))
        self._steps.append(step)
        if entry.number is None or entry.kind not in _AWAITED:
            return
        self._by_number[entry.number] = step
        step.outcome = _OPEN
        if entry.kind == "timer":
            return
        self._tasks.add(entry.number)
        child = self._children.get(entry.execution_id) if entry.execution_id else None
        if child is not None:
            _tell_child(step, child)

    def _resolve(self, entry: HistoryEntry, outcome: str) -> None:
        self._tasks.discard(entry.number or 0)
        step = self._by_number.get(entry.number or 0)
        if step is None:
            self._steps.append(Step(entry.at, entry.kind, outcome))
            return
        if step.is_taken_back:
            return  # it ended all the same, before it heard of that; nobody looks at how
        step.outcome = outcome
        if step.ran is None and step.waited is None:
            step.waited = entry.at - step.at

    def _cancel(self, entry: HistoryEntry) -> None:
        self._tasks.discard(entry.number or 0)
        step = self._by_number.get(entry.number or 0)
        if step is not None:
            step.is_taken_back = True
            step.outcome = f"cancelled after {seconds(entry.at - step.at)}"

    def _continue(self, entry: HistoryEntry) -> None:
        args = _read(entry.payload).get("args")
        outcome = "" if args is None else f"with {msgspec.json.encode(args).decode()}"
        self._steps.append(Step(entry.at, CONTINUED, outcome, source=entry.source or ""))
        self._last_event = entry.at
        # What it left open is not waited for any more: the steps show what became of that.
        self._tasks.clear()
        self._by_number.clear()


def _command(entry: HistoryEntry) -> tuple[str, str]:
    """Return a command in words, and what is known of it at once."""
    payload, name = _read(entry.payload), entry.name or ""
    match entry.kind:
        case "timer":
            limited = f" for {name}" if name else ""
            return f"timer {seconds(float(payload.get('seconds') or 0))}{limited}", ""
        case "attach":
            return f"wait for {name or 'another'}", ""
        case "signal":
            to = f"to {payload['function']}, key {payload.get('key')}" if "key" in payload else ""
            return f"signal {name} sent", to
        case "request_cancel":
            return "ask to cancel", str(payload.get("reason") or "")
        case "side_effect":
            failed = payload.get("error")
            value = error_line(failed) if failed else compact_json(_part(entry.payload, "value"))
            return f"side effect {name}".rstrip(), value
        case "version":
            inferred = ", inferred" if payload.get("inferred") else ""
            return f"version of {name}", f"{payload.get('version', '')}{inferred}"
        case _:
            return f"{entry.kind} {name}".strip(), ""


def _receiver(payload: Mapping[str, Any]) -> UUID | None:
    """Return whom a command addresses by id."""
    given = payload.get("execution")
    return UUID(given) if isinstance(given, str) else None


def _tell_child(step: Step, child: Child) -> None:
    failed = failed_attempts(child)
    begun = begun_at(child)
    if begun is not None:
        step.waited = begun - child.created_at
        step.ran = child.finished_at - begun if child.finished_at else None
    step.outcome = _standing(child)
    if child.attempt == 1 and child.status.is_end:
        return
    last = child.created_at
    for attempt in failed:
        step.attempts.append(_indented(_attempt_step(attempt, since=last)))
        last = attempt.ended_at or last
    if child.status == Status.COMPLETED:
        final = _last_attempt(child, since=last)
        final.outcome = child.status
        step.attempts.append(_indented(final))


def _last_attempt(state: Child, *, since: datetime) -> Step:
    """Return the attempt that ended it: the only one that is not among those that failed."""
    start, end = state.started_at, state.finished_at or since
    outcome = _ending(state)
    if start is None:
        return Step(end, state.status, outcome)
    return Step(start, f"attempt {state.attempt}", outcome, start - since, end - start)


def _ending(state: Child) -> str:
    if isinstance(state, ExecutionSummary):
        return state.error_message or state.status
    return error_line(state.error) or _with_result(state.status, state.result)


def hindrance(state: Child | TreeNode) -> tuple[str, str]:
    """Return why it is not running, in words, after the word that leads to them."""
    reason = state.waits_for or ""
    if state.status == Status.BLOCKED:
        return "blocked by", reason.removeprefix("blocked: ")
    return "waits for", reason


def with_reason(status: str, error: str) -> str:
    """Return how something ended and why; that it was cancelled is not said twice."""
    reason = error.removeprefix("Cancelled: ") if status == Status.CANCELLED else error
    return f"{status}: {reason}" if reason and reason != "Cancelled" else status


def _standing(state: Child) -> str:
    leading, reason = hindrance(state)
    return f"{state.status}, {leading} {reason}" if reason else state.status


def _indented(step: Step) -> Step:
    step.what = f"  {step.what}"
    return step


def _attempt_step(attempt: Attempt, *, since: datetime) -> Step:
    return Step(
        attempt.started_at,
        f"attempt {attempt.number}",
        attempt.error,
        waited=attempt.started_at - since,
        ran=attempt.ended_at - attempt.started_at if attempt.ended_at else None,
    )


def _now(state: ExecutionState, *, since: datetime) -> Step:
    """Return the last line: how it ended, or what it has been doing since then."""
    if state.status.is_end:
        outcome = error_line(state.error) or compact_json(state.result)
        end = state.finished_at or since
        return Step(end, state.status, outcome, ran=between(begun_at(state), state.finished_at))
    if state.status == Status.RUNNING:
        start = state.started_at or since
        return Step(start, "running", "", start - since, datetime.now(UTC) - start)
    leading, reason = hindrance(state)
    outcome = f"{leading} {reason}" if reason and state.status != Status.BLOCKED else reason
    return Step(since, state.status, outcome, waited=datetime.now(UTC) - since)


def begun_at(state: Child) -> datetime | None:
    """Return when its first attempt began, if one did."""
    failed = failed_attempts(state)
    return failed[0].started_at if failed else state.started_at


def _with_result(word: str, payload: str | None) -> str:
    result = compact_json(payload)
    return word if result in ("", "null") else f"{word}: {result}"


def _part(payload: str | None, name: str) -> str | None:
    """Return a part of an object as JSON text, digit by digit as it is stored."""
    parts = msgspec.json.decode(payload, type=dict[str, msgspec.Raw]) if payload else {}
    return bytes(parts[name]).decode() if name in parts else None


def _read(payload: str | None) -> dict[str, Any]:
    document = msgspec.json.decode(payload) if payload else None
    return document if isinstance(document, dict) else {}


def _moment(text: object) -> datetime | None:
    return datetime.fromisoformat(text) if isinstance(text, str) else None

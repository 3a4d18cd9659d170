"""Replaying recorded histories against the code at hand.

A recorded history is the document that `currant history ID --json` prints: what happened to a run
and what it asked for. `replay` has the registered function follow it and reports where it would
ask for something else. It needs no database, and nothing that the workflow asks for is carried out.
"""

import linecache
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import msgspec

from currant import definitions
from currant.errors import (
    CurrantError,
    DecodingError,
    NonDeterminism,
    UnsupportedVersion,
    WorkflowDeadlock,
)
from currant.recordings import Document, Execution, load, read, read_one
from currant.workflow.history import RunInfo, describe, python_version, steps
from currant.workflow.instance import Instance
from currant.workflow.intents import End, Intent
from currant.workflow.teardown import whereabouts

__all__ = ["Document", "Mismatch", "Outcome", "Report", "load", "read", "replay"]

# Seconds that the code of one run may take to get through its history.
_PATIENCE: Final = 10.0


class Outcome(StrEnum):
    """What became of a replay."""

    OK = "ok"
    MISMATCH = "mismatch"  # the code asks for something else than it did
    VERSION = "version"  # it does not support what the run follows
    UNKNOWN = "unknown"  # there is no workflow of that name
    ARGUMENTS = "arguments"  # those of the run do not fit the function any more
    DEADLOCK = "deadlock"  # the code does not give way, or waits for what cannot come
    ERROR = "error"  # something else: a result that does not decode any more, for example


class Mismatch(msgspec.Struct, frozen=True, kw_only=True):
    """Where the code leaves its history.

    Attributes:
        event: number of the event that was applied, of the kind `event_kind`.
        expected: what is recorded for it, in words.
        produced: what the code asks for instead.
        differences: what is different about it, if it is the same but for what it carries.
        file: the file of the user's code that asks, and its `line`; None if nothing does.
        last_match: what was the same last.
        hint: what to do about it.
    """

    event: int
    event_kind: str
    expected: str
    produced: str
    differences: list[str] = []
    file: str | None = None
    line: int | None = None
    last_match: str | None = None
    hint: str | None = None

    @property
    def source(self) -> str | None:
        """The place in the user's code: `shop/app.py:42`."""
        return None if self.file is None else f"{_relative(self.file)}:{self.line}"

    @property
    def code(self) -> str:
        """The line of code there, if it can be read."""
        return linecache.getline(self.file or "", self.line or 0).strip()


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What came of replaying one history.

    Attributes:
        events: so many of its `recorded_events` were followed.
        reason: what is wrong, in one line; None if nothing is.
        notes: what is different without being wrong.
        recorded_python: the Python version that the run began under; `python` replayed it.
        file: where the history was read from, if `load` read it.
    """

    execution_id: UUID
    function: str
    outcome: Outcome
    events: int = 0
    recorded_events: int = 0
    reason: str | None = None
    mismatches: list[Mismatch] = []
    notes: list[str] = []
    recorded_python: str | None = None
    python: str = ""
    file: str | None = None

    @property
    def ok(self) -> bool:
        """Whether the code follows the history."""
        return self.outcome is Outcome.OK

    def describe(self) -> str:
        """The report in lines for people."""
        lines = [f"  {label:<10}  {value}" for label, value in self.particulars()]
        of = "" if self.file is None else f" of {self.file}"
        return "\n".join([f"{self.function} {self.execution_id}{of}: {self.outcome}", *lines])

    __str__ = describe

    def particulars(self) -> Iterator[tuple[str, str]]:
        """What there is to say beyond the outcome: a label and what it is about."""
        for mismatch in self.mismatches:
            yield "event", f"{mismatch.event}, {mismatch.event_kind}"
            yield "expected", mismatch.expected
            yield "produced", mismatch.produced
            for difference in mismatch.differences:
                yield "differs in", difference
            if mismatch.source is not None:
                yield "code", f"{mismatch.source}  {mismatch.code}".rstrip()
            if mismatch.last_match is not None:
                yield "last match", mismatch.last_match
            if self.recorded_python is not None:
                recorded = f"recorded on {self.recorded_python}, replayed on {self.python}"
                yield "python", recorded
            if mismatch.hint:
                yield "hint", mismatch.hint
        if self.reason is not None and not self.mismatches:
            yield "reason", self.reason
            if self.recorded_events:
                yield "followed", f"{self.events} of {_events(self.recorded_events)}"
        for note in self.notes:
            yield "note", note


def replay(
    document: Document | Mapping[str, Any] | str | bytes,
    functions: definitions.Registry = definitions.registry,
    *,
    strict: bool = True,
    patience: float = _PATIENCE,
) -> Report:
    """Have the code at hand follow a recorded history, and report where it does not.

    A run that has not ended is followed as far as it has come. Code that notices where it runs can
    tell nothing apart: for the workflow this is a replay like any other.

    Args:
        document: what `currant history ID --json` prints, as text or read.
        functions: where the workflow is looked up by its name.
        strict: compare arguments, timers and payloads too. Without, only what a worker compares:
            kind, name and number of what is asked for.
        patience: seconds that the code may take.

    Raises:
        InvalidArgument: the document is none.
    """
    recorded = read_one(document)
    function = functions.get(recorded.execution.function)
    if function is None or function.kind != "workflow":
        what = "no workflow" if function is None else f"a {function.kind} and no workflow"
        return _report(
            recorded,
            Outcome.UNKNOWN,
            reason=f"{recorded.execution.function} is {what} of this application",
        )
    args = recorded.execution.args
    try:
        function.decode_call(args)
    except DecodingError as error:
        # A run that failed because of them has to do so again.
        if not any(one.kind == "fail" for one in recorded.entries):
            return _report(recorded, Outcome.ARGUMENTS, reason=str(error))
    declared = function.declaration.version
    if recorded.execution.version > declared:
        reason = (
            f"the run has version {recorded.execution.version} and this code has {declared}:"
            " its workers leave the run to others"
        )
        return _report(recorded, Outcome.VERSION, reason=reason)
    instance = Instance(
        _info(recorded.execution, declared),
        partial(function.begin, args),
        function.encode_result,
        strict=strict,
    )
    try:
        with _watched(instance, patience):
            return _follow(recorded, instance)
    finally:
        instance.close()


def _follow(recorded: Document, instance: Instance) -> Report:
    report = partial(_report, recorded, instance=instance)
    try:
        instance.replay(steps(recorded.entries))
    except NonDeterminism as error:
        return report(Outcome.MISMATCH, reason=str(error), mismatches=[_mismatch(instance, error)])
    except UnsupportedVersion as error:
        return report(Outcome.VERSION, reason=str(error))
    except WorkflowDeadlock as error:
        return report(Outcome.DEADLOCK, reason=str(error))
    except Exception as error:
        text = str(error) if isinstance(error, CurrantError) else f"{type(error).__name__}: {error}"
        return report(Outcome.ERROR, reason=text)
    if recorded.entries and instance.blocked is not None:
        return report(Outcome.DEADLOCK, reason=instance.blocked)
    return report(Outcome.OK)


def _report(
    recorded: Document,
    outcome: Outcome,
    *,
    reason: str | None = None,
    mismatches: list[Mismatch] | None = None,
    instance: Instance | None = None,
) -> Report:
    events = [entry.event for entry in recorded.entries if entry.position == 0]
    followed = 0 if instance is None else sum(number <= instance.last_event for number in events)
    notes = [] if instance is None else list(instance.notes)
    if instance is not None and not events:
        notes.append("it has not begun, so there is nothing to follow")
    return Report(
        execution_id=recorded.execution.id,
        function=recorded.execution.function,
        outcome=outcome,
        events=followed,
        recorded_events=len(events),
        reason=reason,
        mismatches=mismatches or [],
        notes=notes,
        recorded_python=None if instance is None else instance.ledger.recorded_python,
        python=python_version(),
        file=recorded.file,
    )


def _mismatch(instance: Instance, error: NonDeterminism) -> Mismatch:
    found = instance.mismatch
    assert found is not None, "whatever finds a mismatch says which"
    file, line = (found.produced and found.produced.site) or (None, None)
    last_match = "nothing before it"
    if instance.ledger.last_matched is not None:
        event, matched = instance.ledger.last_matched
        last_match = f"{describe(matched)} at event {event.number}"
    return Mismatch(
        event=found.event.number,
        event_kind=found.event.kind,
        expected="nothing" if found.expected is None else describe(found.expected),
        produced=_produced(instance, found.produced),
        differences=list(found.differences),
        file=file,
        line=line,
        last_match=last_match,
        hint=error.hint,
    )


def _produced(instance: Instance, made: Intent | None) -> str:
    if made is None:
        places = whereabouts(instance.loop.tasks)
        return f"nothing, its code waits: {places}" if places else "nothing"
    reason = f" with {made.reason}" if isinstance(made, End) and made.reason else ""
    return f"{describe(made)}{reason}"


def _info(execution: Execution, declared: int) -> RunInfo:
    return RunInfo(
        id=execution.id,
        function=execution.function,
        version=declared,
        queue=execution.queue,
        root_id=execution.root_id,
        parent_id=execution.parent_id,
        created_at=execution.created_at,
        headers=execution.headers,
        first_event=execution.first_event,
    )


@contextmanager
def _watched(instance: Instance, patience: float) -> Iterator[None]:
    """Interrupt code that does not come to an end; again if it catches that."""
    is_over = threading.Event()

    def watch() -> None:
        while not is_over.wait(patience):
            instance.interrupt()

    watcher = threading.Thread(target=watch, name="currant-replay-watch", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        is_over.set()
        watcher.join()


def _relative(file: str) -> str:
    try:
        return str(Path(file).resolve().relative_to(Path.cwd()))
    except ValueError:
        return file


def _events(count: int) -> str:
    return f"{count} event{'' if count == 1 else 's'}"

"""Comparing more than is compared in production: what a command carries, not only what it is.

Arguments may change between deployments, and a run goes on with what it had. Where nothing was
deployed in between, other arguments mean that the code does not repeat itself: a set of texts that
is iterated, a clock that is read. Tests and checks of recorded histories look for that.
"""

import json
from collections.abc import Iterator
from typing import Any, NamedTuple
from uuid import UUID

from currant import codec
from currant.workflow.history import Event, Recorded
from currant.workflow.intents import Execution, Intent

# What may differ without a consequence that the workflow could see, or differs with its own code.
_NOTED = frozenset({"options", "error"})
# Derived from what is compared already.
_LEFT_OUT = frozenset({"id"})
_LONGEST = 300
_NOTHING = object()


class Differences(NamedTuple):
    """How a command differs from the recorded one; either may be empty."""

    wrong: list[str]
    notes: list[str]


def differences(event: Event, run: UUID, made: Intent, recorded: Recorded) -> Differences:
    """Compare what two commands carry that are the same by kind, name and number.

    Of the recorded one only what it has is compared: stored histories leave out the results that
    runs ended with and, unless `recorded` has an attribute `args`, the arguments of executions.
    """
    found = Differences([], [])
    if made.kind == "timer" and made.name != recorded.name and recorded.name is not None:
        found.wrong.append(f"name: expected {recorded.name!r}, produced {made.name!r}")
    if made.kind in ("side_effect", "cancel"):
        return found  # the one takes its value from the record, the other carries nothing
    produced = _parts(made.payload(event, run))
    expected = _expected(made, recorded)
    for part in sorted((produced.keys() | expected.keys()) - _LEFT_OUT):
        if part not in expected and (not expected or part == "args"):
            continue
        wanted, given = expected.get(part, _NOTHING), produced.get(part, _NOTHING)
        if part == "error":
            wanted, given = _without_traceback(wanted), _without_traceback(given)
        if part == "signals":
            wanted, given = _without_events(wanted), _without_events(given)
        if wanted != given:
            texts = _between(part, _revealed(wanted), _revealed(given))
            (found.notes if part in _NOTED else found.wrong).extend(texts)
    return found


def _between(path: str, wanted: Any, given: Any) -> Iterator[str]:
    """In words, where two values differ; of objects only the members that do."""
    if isinstance(wanted, dict) and isinstance(given, dict):
        for name in sorted(wanted.keys() | given.keys()):
            each = wanted.get(name, _NOTHING), given.get(name, _NOTHING)
            yield from _between(f"{path}.{name}", *each)
    elif wanted != given:
        yield f"{path}: expected {_short(wanted)}, produced {_short(given)}"


def _expected(made: Intent, recorded: Recorded) -> dict[str, Any]:
    parts = _parts(recorded.payload)
    if not isinstance(made, Execution) or "args" in parts:
        return parts
    # A stored history keeps the options of an execution as its payload.
    stored: dict[str, Any] = {"options": parts}
    args = getattr(recorded, "args", None)
    return stored if args is None else {**stored, "args": json.loads(args)}


def _parts(payload: str | None) -> dict[str, Any]:
    parts = json.loads(payload or "null")
    return parts if isinstance(parts, dict) else {}


def _revealed(value: Any) -> Any:
    """The value below the payload hook, which need not write the same thing in the same way."""
    try:
        return codec.decode(json.dumps(value), what="a payload")
    except Exception:
        return value


def _without_traceback(error: Any) -> Any:
    if not isinstance(error, dict):
        return error
    rest = {name: value for name, value in error.items() if name != "traceback"}
    return {**rest, "cause": _without_traceback(rest.get("cause"))}


def _without_events(signals: Any) -> Any:
    """What a run leaves to the next; where it came from follows from that and its history."""
    if not isinstance(signals, list):
        return signals
    return [{name: value for name, value in each.items() if name != "event"} for each in signals]


def _short(value: Any) -> str:
    if value is _NOTHING:
        return "nothing"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"

"""What has to be true of every run that a `replay_model` has seen."""

import json
import sys
from collections.abc import Collection, Sequence
from typing import Any

from currant.workflow.history import Command, Step
from tests.properties.plain import PlainRun
from tests.properties.replay_model import Model
from tests.properties.replay_records import Execution, Run
from tests.workflow.programs import Choose, parts

_IS_OLD = sys.version_info < (3, 13)
_NEWER = frozenset(
    ["cancel_self", "await_notice", "barrier", "semaphore", "queued", "group", "wait", "first"]
)
if sys.version_info < (3, 11, 4):
    _NEWER |= {"timeout", "reschedule", "wait_for", "shield"}
_ANSWERS = ("completed", "failed", "fired")


def check(model: Model, choose: Choose) -> None:
    """Everything, for every run of every execution."""
    for execution in model.executions.values():
        check_answers(execution)
        for run in execution.runs:
            check_replays(run, choose)
            check_plain(run)


def check_answers(execution: Execution) -> None:
    """Numbers go up, each is answered once, and only what was asked for is taken back."""
    asked: dict[int, Command] = {}
    answered: set[int] = set()
    numbers: list[int] = []
    for step in (step for run in execution.runs for step in run.steps):
        number = step.event.command
        if number is not None and step.event.kind.endswith(_ANSWERS):
            assert number not in answered, f"{step.event} is the second answer"
            assert number in numbers, f"{step.event} answers what was not asked"
            answered.add(number)
            asked.pop(number, None)
        for command in _commands(step):
            if command.kind == "cancel":
                assert asked.pop(command.number or 0).event < command.event
            elif command.number is not None:
                asked[command.number] = command
                numbers.append(command.number)
    assert numbers == sorted(set(numbers))


def check_replays(run: Run, choose: Choose) -> None:
    """Replayed as a whole, applied as a whole, and part replayed, part applied: all the same."""
    for replayed in {len(run.steps), 0, choose(len(run.steps) + 1)}:
        instance = run.new_instance(strict=True)
        instance.replay(run.steps[:replayed])
        for step in run.steps[replayed:]:
            commands = instance.apply(step.event)
            assert commands == step.commands, (step.event, commands, step.commands)
        assert instance.last_event == run.last_event
        instance.close()


def check_plain(run: Run, without: Collection[str] = (), salt: int | None = None) -> bool:
    """Plain asyncio asks for the same, in the same order, and comes to the same result.

    Args:
        without: kinds of commands of which only the name and the number are known.
        salt: where the hashes of tasks begin there; if not given, where Currant's begin.

    Returns:
        Whether it was compared: plain asyncio has no answer for the future of a `gather` in a set,
        which cannot be given a hash there; nor has that of an old Python for what only the newest
        does as Currant does it on all.
    """
    if _has_gathering_in_set(run):
        return False
    plain = PlainRun(run.info, run.program, salt)
    try:
        for step in run.steps:
            asked = [(*a[:3], None) if a[0] in without else a for a in plain.apply(step.event)]
            wanted = [_asked(c, without) for c in _commands(step) if c.kind != "version"]
            if asked != wanted and _IS_OLD and _is_newer(run):
                return False
            assert asked == wanted, (step.event, asked, wanted)
    finally:
        plain.close()
    return True


def _has_gathering_in_set(run: Run) -> bool:
    return any(part[0] == "futures" for part in parts(run.program))


def _is_newer(run: Run) -> bool:
    """Whether it has anything that Python 3.13 does otherwise, see currant/workflow/older.py.

    And `timeout`, which the first releases of 3.11 do otherwise.
    """
    return any(
        part[0] in _NEWER or (part[0] == "each" and part[3] == 2) for part in parts(run.program)
    )


def _commands(step: Step) -> Sequence[Any]:
    return step.commands


def _asked(command: Command, without: Collection[str]) -> tuple[Any, ...]:
    payload = json.loads(command.payload or "null")
    detail: Any = None
    number, name = command.number, command.name
    match command.kind:
        case kind if kind in without:
            pass
        case "task" | "child" | "queue":
            detail = payload["args"]
        case "timer":
            name, detail = None, payload["seconds"]
        case "attach" | "request_cancel":
            detail = payload["execution"]
        case "signal":
            detail = payload["payload"]
        case "cancel":
            number, name, detail = None, None, command.number
        case "complete":
            detail = payload["result"]
        case "continue_as_new":
            detail = payload["args"]
        case "fail":
            detail = payload["error"]["type"]
    return command.kind, number, name, detail

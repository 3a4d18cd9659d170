"""Any program, under any order of events and any crashes, does what it did before."""

import logging
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from currant.workflow.history import Command
from tests.workflow.programs import Program, programs, run_program
from tests.workflow.support import Run

logging.getLogger("currant").addHandler(logging.NullHandler())


def happen(run: Run, choice: int) -> bool:
    """One of the things that can happen to the run now; the same choice gives the same thing."""
    tasks = [n for n, c in run.open.items() if c.kind == "task"]
    possible: list[Any] = [lambda n=n: run.complete(n, f"result {n}") for n in tasks]
    possible += [lambda n=n: run.fail(n, "Broken") for n in tasks]
    if any(c.kind == "timer" for c in run.open.values()):
        possible += [run.fire] * (1 + len(tasks))
    if run.waits_for_signal or choice % 5 == 0:
        possible += [lambda: run.signal("x", len(run.history)), lambda: run.signal("y")]
    if choice % 11 == 0:
        possible.append(run.cancel)
    late = [c.number for c in run.commands if c.kind == "cancel"]
    possible += [lambda n=n: run.late(n) for n in late[:1]]
    if not possible:
        return False
    possible[choice % len(possible)]()
    return True


def check(program: Program, choices: list[int], crashes: list[bool]) -> None:
    kept = Run(run_program, program)
    crashing = Run(run_program, program)
    assert crashing.history == kept.history
    for choice, crash in zip(choices, crashes, strict=True):
        if crash:
            crashing.crash()
        if kept.end is not None or not happen(kept, choice):
            break
        happen(crashing, choice)
        assert crashing.history[-1] == kept.history[-1]
    for run in (kept, crashing):
        check_numbers(run.commands)
        run.crash()
        run.instance.close()


def check_numbers(commands: list[Command]) -> None:
    """Numbers go up by one, and what is cancelled was asked for by an earlier event."""
    asked: dict[int | None, Command] = {}
    for command in commands:
        if command.kind == "cancel":
            assert asked.pop(command.number).event < command.event
        elif command.number is not None:
            asked[command.number] = command
    numbers = [c.number for c in commands if c.number is not None and c.kind != "cancel"]
    assert numbers == sorted(set(numbers))


moves = st.lists(st.tuples(st.integers(0, 1000), st.booleans()), min_size=5, max_size=30)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(program=programs, moves=moves)
def test_a_crash_anywhere_changes_nothing(program: Program, moves: list[tuple[int, bool]]) -> None:
    check(program, [choice for choice, _ in moves], [crash for _, crash in moves])

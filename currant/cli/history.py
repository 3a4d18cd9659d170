"""The history command: reads an execution's story and lays it out."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import click

from currant import database
from currant.cli import parameters, timeline
from currant.cli.inspection import json_option
from currant.cli.render import Column, Screen, between, raw_json, seconds, short_ids
from currant.cli.session import Session, command, pass_session
from currant.models import ExecutionState, HistoryEntry

_LONGEST_OUTCOME = 100
# Executions that are asked for in one statement, or in one round trip.
_BATCH = 500


@command()
@click.argument("execution", metavar="ID", type=parameters.execution_id)
@click.option(
    "--all", "is_whole", is_flag=True, help="Show the runs before it continued as new, too."
)
@click.option("--ids", "has_ids", is_flag=True, help="Show ids in full, not their ends alone.")
@json_option
@pass_session
def history(
    session: Session, execution: UUID, *, is_whole: bool, has_ids: bool, as_json: bool
) -> None:
    """Show what an execution did, step by step.

    Every step with how long it waited and ran, and the attempts that failed. --json prints the
    history of a workflow as 'currant replay' reads it.
    """
    if is_whole and as_json:
        raise click.UsageError("--json has the present run alone, so --all does not go with it")
    with session.connection() as connection:
        if as_json:
            recorded = database.run_sync(connection, database.export_history(execution))
            Screen().json(raw_json(recorded))
            return
        state = database.run_sync(connection, database.status(execution))
        entries = database.run_sync(connection, database.history(execution))
        runs = timeline.runs_of(entries)
        shown = entries if is_whole else runs[-1]
        children = _children(connection, shown)
    screen = Screen()
    _show_title(screen, state, len(runs), is_whole=is_whole)
    screen.line()
    steps = (
        timeline.of_workflow(state, entries, children, is_whole=is_whole)
        if state.kind == "workflow"
        else timeline.of_task(state)
    )
    _show(screen, steps, has_ids=has_ids)


def _show_title(screen: Screen, state: ExecutionState, runs: int, *, is_whole: bool) -> None:
    begun = timeline.begun_at(state)
    took, total = (
        seconds(between(start, state.finished_at)) for start in (begun, state.created_at)
    )
    since = f", {total} after it was asked for" if took and total != took else ""
    took = f" in {took}" if took else ""
    screen.line(f"{state.function} {state.id} {state.status}{took}{since}")
    if runs > 1:
        earlier = f"{runs - 1} earlier run{'' if runs == 2 else 's'}"
        hint = "" if is_whole else "; --all shows what was before"
        screen.line(f"run {runs}, continued after {earlier}{hint}", style="dim")


def _children(connection: Any, entries: Sequence[HistoryEntry]) -> Mapping[UUID, timeline.Child]:
    """Read what became of all that it started; in full only where attempts have failed."""
    ids = list(
        dict.fromkeys(
            entry.execution_id
            for entry in entries
            if entry.position and entry.execution_id is not None
        )
    )
    found: dict[UUID, timeline.Child] = {}
    for start in range(0, len(ids), _BATCH):
        batch = ids[start : start + _BATCH]
        # Some may be missing: cancelled before they were made.
        for one in database.run_sync(connection, database.executions(batch)):
            found[one.id] = one
    failed = [one.id for one in found.values() if one.kind == "task" and one.attempt > 1]
    for start in range(0, len(failed), _BATCH):
        calls = [database.status(one) for one in failed[start : start + _BATCH]]
        for state in database.exchange_sync(connection, calls):
            found[state.id] = state
    return found


def _show(screen: Screen, steps: Sequence[timeline.Step], *, has_ids: bool) -> None:
    # What happened counts from the start: a long wait in the queue would blur all that follows.
    start = next((step.at for step in steps if step.what == "started"), steps[0].at)
    screen.table(
        (
            Column("AT", is_right=True),
            Column("WAITED", keep=4, is_right=True),
            Column("RAN", is_right=True),
            # Names are what one looks for: an id or a source gives way before they are cut.
            Column("STEP", shrinks_to=28),
            Column("ID", keep=9 if has_ids else 2),
            Column("SOURCE", keep=1),
            # The last, so that a long one makes no other line longer.
            Column("OUTCOME", shrinks_to=20),
        ),
        [
            (
                _offset(line.at - start),
                seconds(line.waited),
                seconds(line.ran),
                f"── {line.what}" if line.what == timeline.CONTINUED else line.what,
                _id(line.execution, is_whole=has_ids),
                line.source,
                _cut(line.outcome),
            )
            for step in steps
            for line in step.lines()
        ],
    )


def _id(execution: UUID | None, *, is_whole: bool) -> str:
    text = "" if execution is None else str(execution)
    return text if is_whole else short_ids(text)


def _cut(outcome: str) -> str:
    return outcome if len(outcome) <= _LONGEST_OUTCOME else f"{outcome[: _LONGEST_OUTCOME - 1]}…"


def _offset(elapsed: timedelta) -> str:
    return seconds(elapsed) if elapsed < timedelta(0) else f"+{seconds(elapsed)}"

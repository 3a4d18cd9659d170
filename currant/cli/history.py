"""The history command: reads an execution's story and lays it out."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import click
import psycopg

from currant import database
from currant.cli import parameters, timeline
from currant.cli.inspection import document, json_option
from currant.cli.render import Column, Screen, between, seconds, shortened
from currant.cli.session import Session, command, pass_session
from currant.errors import ExecutionNotFound
from currant.models import ExecutionState, HistoryEntry

_LONGEST_OUTCOME = 200


@command()
@click.argument("execution", metavar="ID", type=parameters.execution_id)
@json_option
@pass_session
def history(session: Session, execution: UUID, as_json: bool) -> None:
    """Show what an execution did, step by step.

    Every step with how long it waited and ran, and the attempts that failed.
    """
    with session.connection() as connection:
        state = database.run_sync(connection, database.status(execution))
        entries = database.run_sync(connection, database.history(execution))
        children = {} if as_json else _children(connection, entries)
    screen = Screen()
    if as_json:
        screen.json([document(entry) for entry in entries])
        return
    took = seconds(between(state.created_at, state.finished_at))
    screen.line(f"{state.function} {state.id} {state.status}" + (f" in {took}" if took else ""))
    screen.line()
    steps = (
        timeline.of_workflow(state, entries, children)
        if state.kind == "workflow"
        else timeline.of_task(state)
    )
    _show(screen, steps)


def _children(connection: Any, entries: Sequence[HistoryEntry]) -> dict[UUID, ExecutionState]:
    found = {}
    for entry in entries:
        if entry.position == 0 or entry.execution_id is None or entry.execution_id in found:
            continue
        try:
            found[entry.execution_id] = database.run_sync(
                connection, database.status(entry.execution_id)
            )
        except psycopg.Error as error:
            # Cancelled before it was made, or pruned: the history itself still tells of it.
            if not isinstance(database.translate(error), ExecutionNotFound):
                raise
    return found


def _show(screen: Screen, steps: Sequence[timeline.Step]) -> None:
    # What happened counts from the start: a long wait in the queue would blur all that follows.
    start = next((step.at for step in steps if step.what == "started"), steps[0].at)
    screen.table(
        (
            Column("AT", is_right=True),
            Column("WAITED", keep=4, is_right=True),
            Column("RAN", is_right=True),
            Column("STEP", shrinks_to=16),
            Column("OUTCOME", shrinks_to=18),
            Column("SOURCE", shrinks_to=10, keep=1),
        ),
        [
            (
                _offset(line.at - start),
                seconds(line.waited),
                seconds(line.ran),
                line.what,
                shortened(line.outcome, _LONGEST_OUTCOME),
                line.source,
            )
            for step in steps
            for line in step.lines()
        ],
    )


def _offset(elapsed: timedelta) -> str:
    return seconds(elapsed) if elapsed < timedelta(0) else f"+{seconds(elapsed)}"

"""The commands that show what is there: status, list, queues, workers."""

from datetime import datetime
from typing import Any
from uuid import UUID

import click
import msgspec

from currant import database
from currant.cli import parameters, tree
from currant.cli.render import (
    Column,
    Screen,
    age,
    between,
    compact_json,
    error_line,
    local_time,
    raw_json,
    seconds,
    short_ids,
    shortened,
)
from currant.cli.session import Session, command, complain, pass_session
from currant.cli.timeline import failed_attempts, hindrance
from currant.errors import RemoteError
from currant.models import ExecutionState, ExecutionSummary, Status, TreeNode

_LONGEST_NOTE = 200
# Children of a workflow: how many are shown, read, and may be asked for.
_CHILDREN, _READ, _MOST_CHILDREN = 50, 1000, 100_000
_JSON_FIELDS = frozenset(
    {"args", "result", "error", "headers", "details", "attempts", "payload", "unread_signals"}
)

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def document(record: msgspec.Struct) -> dict[str, Any]:
    """Return a record for Screen.json(), the JSON it holds embedded."""
    return {
        name: raw_json(value) if name in _JSON_FIELDS else value
        for name in record.__struct_fields__
        for value in [getattr(record, name)]
    }


@command()
@click.argument("execution", metavar="ID", type=parameters.execution_id)
@click.option(
    "--children",
    "limit",
    metavar="N",
    type=click.IntRange(min=0, max=_MOST_CHILDREN),
    help=f"Show at most so many of what a workflow started: {_CHILDREN}; with --json {_READ}."
    " What is open, has failed or is new comes first.",
)
@json_option
@pass_session
def status(session: Session, execution: UUID, limit: int | None, as_json: bool) -> None:
    """Show one execution in full.

    Its state, attempts with their errors, times, result, why it waits if it does, and what it has
    started if it is a workflow.
    """
    shown = limit if limit is not None else _READ if as_json else _CHILDREN
    # One more for the execution itself, and one to see whether there are more.
    most = max(shown, _READ) + 2
    with session.connection() as connection:
        state = database.run_sync(connection, database.status(execution))
        found: list[TreeNode] = []
        if state.kind == "workflow" and shown:
            found = database.run_sync(connection, database.tree(execution, most))[1:]
    screen = Screen()
    if as_json:
        listed = {"children": [document(row) for row in tree.most_telling(found, shown)]}
        screen.json({**document(state), **(listed if state.kind == "workflow" else {})})
        return
    screen.fields(_description(state))
    _show_attempts(screen, state)
    tree.show(screen, found[: most - 2], shown, is_cut=len(found) > most - 2)
    _show_traceback(screen, state)


def _description(state: ExecutionState) -> list[tuple[str, str]]:
    version = f", version {state.version}" if state.kind == "workflow" else ""
    priority = f", priority {state.priority}" if state.priority else ""
    tries = f"{state.attempt} of {state.max_attempts}" if state.kind == "task" else ""
    return [
        ("id", str(state.id)),
        ("function", f"{state.function} ({state.kind}{version})"),
        ("queue", f"{state.queue}{priority}"),
        ("status", state.status),
        hindrance(state),
        ("unread", _unread(state)),
        ("cancelling", "asked to stop" if _is_stopping(state) else ""),
        ("attempt", tries),
        ("worker", str(state.worker_id or "")),
        ("created", local_time(state.created_at)),
        ("due", local_time(state.due_at)),
        ("started", _after(state.started_at, state.created_at, "after")),
        ("finished", _after(state.finished_at, state.started_at, "took")),
        ("key", state.key or ""),
        ("parent", str(state.parent_id or "")),
        ("root", str(state.root_id) if state.root_id not in (state.id, state.parent_id) else ""),
        ("retry of", str(state.retry_of or "")),
        ("headers", "" if state.headers in (None, "{}") else compact_json(state.headers)),
        ("details", compact_json(state.details)),
        ("args", compact_json(state.args)),
        ("result", compact_json(state.result) if state.status == Status.COMPLETED else ""),
        ("error", error_line(state.error)),
    ]


def _unread(state: ExecutionState) -> str:
    """Return which signals nobody has taken; once a workflow has ended, nobody will."""
    names = [str(one["name"]) for one in database.plain_json(state.unread_signals) or []]
    count = f"{len(names)} signal{'' if len(names) == 1 else 's'}"
    return f"{count}: {', '.join(names)}" if names else ""


def _is_stopping(state: ExecutionState) -> bool:
    return state.is_cancel_requested and not state.status.is_end


def _after(moment: datetime | None, start: datetime | None, word: str) -> str:
    elapsed = seconds(between(start, moment))
    return f"{local_time(moment)} ({word} {elapsed})" if elapsed else local_time(moment)


def _show_attempts(screen: Screen, state: ExecutionState) -> None:
    failed = failed_attempts(state)
    if not failed:
        return
    rows = [
        (
            str(attempt.number),
            local_time(attempt.started_at),
            seconds(between(attempt.started_at, attempt.ended_at)),
            attempt.worker,
            attempt.error,
        )
        for attempt in failed
    ]
    if state.attempt > failed[-1].number and state.started_at is not None:
        took = seconds(between(state.started_at, state.finished_at))
        worker = str(state.worker_id or "")
        rows.append((str(state.attempt), local_time(state.started_at), took, worker, state.status))
    screen.line()
    screen.table(
        (
            Column("ATTEMPT", is_right=True),
            Column("STARTED", keep=2),
            Column("TOOK", is_right=True),
            Column("WORKER", keep=1),
            Column("OUTCOME", shrinks_to=20),
        ),
        rows,
    )


def _show_traceback(screen: Screen, state: ExecutionState) -> None:
    """Print the traceback of its error, below those of what led to it: it began with the first."""
    if state.error is None:
        return
    chain: list[RemoteError] = []
    error: RemoteError | None = RemoteError.from_json(msgspec.json.decode(state.error))
    while error is not None:
        chain.insert(0, error)
        error = error.cause
    for each in chain:
        lines = (each.traceback or "").rstrip().splitlines()
        if each is not chain[-1]:
            lines.insert(0, str(each))
        if lines:
            screen.line()
        for line in lines:
            screen.line(line, style="dim")


@command("list")
@click.option("-q", "--queue", metavar="NAME", help="Only of this queue.")
@click.option(
    "--status", type=click.Choice([status.value for status in Status]), help="Only in this state."
)
@click.option("--function", metavar="NAME", help="Only of this function.")
@click.option("--kind", type=click.Choice(["task", "workflow"]), help="Only of this kind.")
@click.option("--roots", "is_root", is_flag=True, help="Only what no workflow has started.")
@click.option(
    "--since", metavar="TIME", type=parameters.past, help="Only created since, e.g. 2h or a time."
)
@click.option(
    "--limit",
    metavar="N",
    type=click.IntRange(min=1),
    default=20,
    show_default=True,
    help="At most so many, the newest first.",
)
@json_option
@pass_session
def list_executions(
    session: Session,
    *,
    queue: str | None,
    status: str | None,
    function: str | None,
    kind: str | None,
    is_root: bool,
    since: datetime | None,
    limit: int,
    as_json: bool,
) -> None:
    """List executions, the newest first."""
    with session.connection() as connection:
        found = database.run_sync(
            connection,
            database.list_executions(
                queue=queue,
                status=status,
                function=function,
                kind=kind,
                is_root=is_root,
                since=since,
                limit=limit + 1,
            ),
        )
    screen, shown = Screen(), found[:limit]
    if as_json:
        screen.json([document(summary) for summary in shown])
        return
    # A pipe may well expect nothing; a name that nobody has, or another database, it does not.
    if not shown and (screen.is_terminal or queue or function or session.place):
        complain(f"no executions match{session.place}")
    if shown or not screen.is_terminal:
        _show_list(screen, shown, status)
    if len(found) > limit and screen.is_terminal:
        screen.line(f"There are more; this is the newest {limit}. --limit shows others.", "dim")


def _show_list(screen: Screen, shown: list[ExecutionSummary], status: str | None) -> None:
    # Why something is blocked is what one lists such executions for.
    is_reason_wanted = status == Status.BLOCKED
    screen.table(
        (
            Column("ID"),
            # Where it was asked for, it is the same in every line.
            Column("STATUS", keep=1 if status else 9),
            Column("FUNCTION", shrinks_to=14, keep=5),
            Column("QUEUE", shrinks_to=6, keep=3),
            Column("TRIES", keep=2, is_right=True),
            Column("AGE" if screen.is_terminal else "CREATED", keep=4, is_right=True),
            Column("TOOK", keep=1, is_right=True),
            Column("NOTE", shrinks_to=24, keep=8 if is_reason_wanted else 0),
        ),
        [
            (
                str(one.id),
                one.status,
                one.function,
                one.queue,
                f"{one.attempt}/{one.max_attempts}" if one.kind == "task" else "",
                age(one.created_at) if screen.is_terminal else one.created_at.isoformat(),
                seconds(between(one.started_at, one.finished_at)),
                shortened(one.error_message or one.waits_for or "", _LONGEST_NOTE),
            )
            for one in shown
        ],
    )


@command()
@json_option
@pass_session
def queues(session: Session, as_json: bool) -> None:
    """Show the queues and what is in them."""
    with session.connection() as connection:
        found = database.run_sync(connection, database.queue_stats())
    screen = Screen()
    if as_json:
        screen.json([document(queue) for queue in found])
        return
    if not found and screen.is_terminal:
        complain(f"all queues are empty{session.place}")
        return
    screen.table(
        (
            Column("QUEUE", shrinks_to=10),
            Column("READY", is_right=True),
            Column("DELAYED", is_right=True),
            Column("RUNNING", is_right=True),
            Column("OLDEST", is_right=True),
        ),
        [
            (
                queue.queue,
                str(queue.ready),
                str(queue.delayed),
                str(queue.running),
                age(queue.oldest_ready_at),
            )
            for queue in found
        ],
    )


@command()
@json_option
@pass_session
def workers(session: Session, as_json: bool) -> None:
    """Show the workers and what they serve."""
    with session.connection() as connection:
        found = database.run_sync(connection, database.workers())
    screen = Screen()
    if as_json:
        screen.json([document(worker) for worker in found])
        return
    if not found and screen.is_terminal:
        complain(f"no workers{session.place}; start one with 'currant worker'")
        return
    screen.table(
        (
            Column("WORKER", short=short_ids),
            Column("HOST", shrinks_to=8, keep=3),
            Column("PID", is_right=True),
            Column("STATE"),
            Column("BUSY", is_right=True),
            Column("UP", keep=1, is_right=True),
            Column("HEARD", keep=4, is_right=True),
            Column("QUEUES", shrinks_to=20),
        ),
        [
            (
                str(worker.worker_id),
                worker.host or "",
                str(worker.pid or ""),
                "alive" if worker.is_alive else "dead",
                f"{worker.running}/{worker.concurrency}",
                age(worker.started_at),
                age(worker.heartbeat_at),
                ", ".join(worker.queues),
            )
            for worker in found
        ],
    )

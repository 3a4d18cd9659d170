"""What people read: lists, trees and counts, from the views and the functions made for reading."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from currant import models
from currant.database.values import (
    Call,
    Identifier,
    columns,
    id_text,
    one,
    plain_array,
    records,
    with_status,
)


def list_executions(
    *,
    queue: str | None = None,
    status: str | None = None,
    function: str | None = None,
    kind: str | None = None,
    is_root: bool = False,
    since: datetime | None = None,
    is_open: bool = False,
    limit: int = 50,
) -> Call[list[models.ExecutionSummary]]:
    """The newest executions that fit, newest first.

    `is_open` leaves out what has ended, `is_root` what a workflow has started.
    """
    is_open = is_open or (status is not None and not models.Status(status).is_end)
    view = "open_executions" if is_open else "execution_status"
    conditions = [
        ("r.queue = %s::text", queue),
        # Of what has ended, the outcome has an index; of what is open, there is not much.
        ("r.status = %s::text" if is_open else "r.outcome = %s::text", status),
        ("r.function = %s::text", function),
        ("r.kind = %s::text", kind),
        ("(r.parent_id is null) = %s::text::boolean", "true" if is_root else None),
        ("r.created_at >= %s::text::timestamptz", None if since is None else since.isoformat()),
    ]
    given = [(text, value) for text, value in conditions if value is not None]
    where = " where " + " and ".join(text for text, _ in given) if given else ""
    return Call(
        f"select {columns(models.ExecutionSummary)} from currant.{view} as r{where}"
        " order by r.id desc limit %s::int",
        (*(value for _, value in given), limit),
        with_status(models.ExecutionSummary),
    )


def executions(ids: Sequence[UUID]) -> Call[list[models.ExecutionSummary]]:
    """Those of the executions that there are, in no particular order."""
    return Call(
        f"select {columns(models.ExecutionSummary)} from currant.execution_status as r"
        " where r.id = any(%s::text::uuid[])",
        (plain_array([one.hex for one in ids]),),
        with_status(models.ExecutionSummary),
    )


def queue_stats() -> Call[list[models.QueueStats]]:
    """Every queue and what is in it."""
    return Call(
        f"select {columns(models.QueueStats)} from currant.queue_stats as r order by r.queue",
        (),
        records(models.QueueStats),
    )


def workers() -> Call[list[models.WorkerState]]:
    """Every worker that is known, living ones first."""
    return Call(
        f"select {columns(models.WorkerState)} from currant.worker_heartbeats as r"
        " order by r.is_alive desc, r.started_at, r.worker_id",
        (),
        records(models.WorkerState),
    )


def signals(execution: Identifier) -> Call[list[models.SignalState]]:
    """The signals that a workflow has been sent, in order."""
    return Call(
        f"select {columns(models.SignalState)} from currant.workflow_signals as r"
        " where r.execution_id = %s::text::uuid order by r.arrived_at",
        (id_text(execution),),
        records(models.SignalState),
    )


def tree(execution: Identifier, at_most: int = 1000) -> Call[list[models.TreeNode]]:
    """An execution and what it started, each followed by what that started."""
    return Call(
        f"select {columns(models.TreeNode)} from currant.tree(%s::text::uuid, %s::int) as r",
        (id_text(execution), at_most),
        with_status(models.TreeNode),
    )


def workflow_versions(change_id: str | None = None) -> Call[list[models.WorkflowVersion]]:
    """Open runs by the version of a change that they have recorded, or of every change."""
    where = "" if change_id is None else " where r.change_id = %s::text or r.change_id is null"
    return Call(
        f"select {columns(models.WorkflowVersion)} from currant.workflow_versions as r{where}"
        " order by r.function, r.change_id nulls last, r.version nulls first",
        () if change_id is None else (change_id,),
        records(models.WorkflowVersion),
    )


def export_history(execution: Identifier) -> Call[str]:
    """Everything that is needed to replay a workflow elsewhere: one JSON document, as text."""
    return Call("select currant.export_history(%s::text::uuid)", (id_text(execution),), one)

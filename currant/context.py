"""What code inside a task can ask about, and tell, the task it is in."""

from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from currant import codec
from currant.errors import NotInTask


@dataclass(frozen=True, slots=True)
class TaskInfo:
    """The running task.

    Attributes:
        id: the execution's id.
        function: the name it was enqueued under.
        attempt: 1 for the first.
        max_attempts: after so many it has failed.
        deadline: when this attempt times out.
        workflow_id: the workflow that runs it, or None.
        details: what `heartbeat()` kept last, in this attempt or an earlier one.
        cancelled: whether somebody asked it to stop; sync tasks may look at it now and then.
    """

    id: str
    function: str
    attempt: int
    max_attempts: int
    deadline: datetime | None
    workflow_id: str | None
    details: Any
    cancelled: bool


@dataclass(slots=True, kw_only=True)
class TaskContext:
    """What the worker keeps about a running task; shared with the task's threads.

    Attributes:
        record_heartbeat: called with details as JSON text, from whatever thread the task is in.
        connection: the connection of a transactional task, else None.
        lend_slot: gives the task's slot away for as long as the context is open.
        lend_slot_sync: the same from a thread of the task.
    """

    id: str
    function: str
    attempt: int = 1
    max_attempts: int = 1
    deadline: datetime | None = None
    workflow_id: str | None = None
    details: str | None = None
    cancelled: bool = False
    record_heartbeat: Callable[[str | None], None] | None = None
    connection: Any = None
    lend_slot: Callable[[], AbstractAsyncContextManager[None]] | None = None
    lend_slot_sync: Callable[[], AbstractContextManager[None]] | None = None


# A function gives the context of a task that has not asked for it yet.
_current: ContextVar[TaskContext | Callable[[], TaskContext] | None] = ContextVar(
    "currant_task", default=None
)


@contextmanager
def entered(context: TaskContext) -> Iterator[TaskContext]:
    """Everything called in here is part of the task."""
    token = _current.set(context)
    try:
        yield context
    finally:
        _current.reset(token)


def enter(make: Callable[[], TaskContext]) -> None:
    """The rest of this asyncio task is the task whose context is made so, once it is needed."""
    _current.set(make)


def current() -> TaskContext | None:
    """The running task's context, or None outside of tasks."""
    found = _current.get()
    return found if found is None or isinstance(found, TaskContext) else found()


def task_info() -> TaskInfo:
    """About the task that is running.

    Raises:
        NotInTask: none is.
    """
    task = _required("task_info()")
    return TaskInfo(
        id=task.id,
        function=task.function,
        attempt=task.attempt,
        max_attempts=task.max_attempts,
        deadline=task.deadline,
        workflow_id=task.workflow_id,
        details=codec.decode(task.details, what=f"the heartbeat details of {task.function}()"),
        cancelled=task.cancelled,
    )


def heartbeat(details: Any = None) -> None:
    """Say that the task is getting on, and keep `details` for its next attempt.

    Callable from any thread of the task, and cheap: details are sent with the worker's own
    heartbeat. Without details, those kept before stay. Outside of a task nothing happens, so that
    a task's function can be called as an ordinary one.

    Raises:
        EncodingError: the details cannot be stored.
    """
    task = current()
    if task is None:
        return
    if details is not None:
        task.details = codec.encode(details, what=f"the heartbeat details of {task.function}()")
    if task.record_heartbeat is not None:
        task.record_heartbeat(task.details)


def connection() -> Any:
    """The connection whose transaction also carries the completion of this transactional task.

    Raises:
        NotInTask: no task is running, or it was not declared with `transactional=True`.
    """
    task = _required("connection()")
    if task.connection is None:
        raise NotInTask(
            f"{task.function}() has no connection of its own",
            hint="declare it with @task(transactional=True)",
        )
    return task.connection


def _required(caller: str) -> TaskContext:
    task = current()
    if task is None:
        raise NotInTask(f"{caller} was called outside of a task")
    return task

"""What a running task can ask and tell."""

import contextvars
import threading
from datetime import UTC, datetime

import pytest

from currant import EncodingError, NotInTask, connection, heartbeat, task_info
from currant.context import TaskContext, current, entered


def test_outside_of_a_task_there_is_nothing_to_ask() -> None:
    with pytest.raises(NotInTask, match=r"task_info\(\) was called outside of a task"):
        task_info()
    with pytest.raises(NotInTask, match=r"connection\(\) was called outside of a task"):
        connection()
    assert current() is None


def test_outside_of_a_task_a_heartbeat_is_nothing() -> None:
    heartbeat({"done": 3})


def test_a_task_knows_about_itself() -> None:
    deadline = datetime(2026, 1, 31, tzinfo=UTC)
    context = TaskContext(
        id="x", function="f", attempt=2, max_attempts=4, deadline=deadline, details='{"at": 7}'
    )

    with entered(context):
        info = task_info()
        context.cancelled = True

        assert (info.id, info.function, info.attempt, info.max_attempts) == ("x", "f", 2, 4)
        assert (info.deadline, info.workflow_id, info.details) == (deadline, None, {"at": 7})
        assert (info.cancelled, task_info().cancelled) == (False, True)
    assert current() is None


def test_heartbeats_reach_the_worker_from_any_thread_and_keep_their_details() -> None:
    seen: list[str | None] = []

    with entered(TaskContext(id="x", function="f", record_heartbeat=seen.append)):
        heartbeat()
        copied = contextvars.copy_context()
        thread = threading.Thread(target=lambda: copied.run(heartbeat, {"done": 3}))
        thread.start()
        thread.join()
        heartbeat()

        assert task_info().details == {"done": 3}
    assert seen == [None, '{"done":3}', '{"done":3}']


def test_details_that_cannot_be_stored_are_refused() -> None:
    context = TaskContext(id="x", function="f", details="1")

    with entered(context), pytest.raises(EncodingError, match=r"heartbeat details of f\(\)"):
        heartbeat(object())

    assert context.details == "1"


def test_only_a_transactional_task_has_a_connection() -> None:
    own = object()

    with entered(TaskContext(id="x", function="f", connection=own)):
        assert connection() is own
    with (
        entered(TaskContext(id="x", function="f")),
        pytest.raises(NotInTask, match="transactional=True"),
    ):
        connection()

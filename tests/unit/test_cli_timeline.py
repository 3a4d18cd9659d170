import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from currant.cli import timeline
from currant.cli.timeline import Step
from currant.models import ExecutionState, HistoryEntry, Status

START = datetime(2026, 1, 31, 12, tzinfo=UTC)
RUN = UUID("0190c000-0000-7000-8000-000000000001")
CHILD = UUID("0190c000-0000-7000-8000-000000000002")


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def state(**given: Any) -> ExecutionState:
    fields: dict[str, Any] = {
        **dict.fromkeys(ExecutionState.__struct_fields__),
        "id": RUN,
        "root_id": RUN,
        "kind": "workflow",
        "function": "order",
        "version": 1,
        "queue": "orders",
        "priority": 0,
        "status": Status.SUSPENDED,
        "attempt": 1,
        "max_attempts": 1,
        "args": "{}",
        "created_at": START,
        "is_cancel_requested": False,
    }
    return ExecutionState(**{**fields, **given})


def entry(
    event: int, position: int, kind: str, *, seconds: float, payload: Any = None, **given: Any
) -> HistoryEntry:
    fields: dict[str, Any] = {"number": None, "name": None, "execution_id": None, "source": None}
    return HistoryEntry(
        event=event,
        position=position,
        kind=kind,
        payload=None if payload is None else json.dumps(payload),
        at=at(seconds),
        **{**fields, **given},
    )


STARTED = entry(1, 0, "started", seconds=0.5, payload={"version": 2})


def told(entries: list[HistoryEntry], **given: Any) -> list[Step]:
    children = given.pop("children", {})
    return timeline.of_workflow(state(**given), entries, children)


def test_a_step_tells_how_long_it_waited_and_ran_and_what_came_of_it() -> None:
    child = state(
        id=CHILD,
        kind="task",
        status=Status.COMPLETED,
        created_at=at(0.5),
        started_at=at(0.75),
        finished_at=at(2),
    )
    steps = told(
        [
            STARTED,
            entry(
                1, 1, "task", seconds=0.5, number=1, name="pay", execution_id=CHILD, source="a:3"
            ),
            entry(2, 0, "task_completed", seconds=2, number=1, payload={"id": 7}),
            entry(2, 1, "complete", seconds=2),
        ],
        children={CHILD: child},
        status=Status.COMPLETED,
        result="[1]",
        finished_at=at(2),
    )

    assert [step.what for step in steps] == ["enqueued", "started", "task pay", "completed"]
    assert steps[1].waited == timedelta(seconds=0.5)
    assert steps[1].outcome == "version 2"
    assert steps[2].waited == timedelta(seconds=0.25)
    assert steps[2].ran == timedelta(seconds=1.25)
    assert steps[2].outcome == 'completed: {"id": 7}'
    assert steps[2].source == "a:3"
    assert steps[3].outcome == "[1]"
    assert steps[3].ran == timedelta(seconds=2)


def test_the_attempts_that_failed_stand_below_their_step() -> None:
    child = state(
        id=CHILD,
        kind="task",
        status=Status.COMPLETED,
        attempt=2,
        created_at=at(1),
        started_at=at(4),
        finished_at=at(5),
        attempts=json.dumps(
            [
                {
                    "attempt": 1,
                    "worker": str(RUN),
                    "started_at": at(2).isoformat(),
                    "ended_at": at(3).isoformat(),
                    "error": {"type": "ValueError", "message": "no"},
                }
            ]
        ),
    )
    steps = told(
        [
            STARTED,
            entry(1, 1, "task", seconds=1, number=1, name="pay", execution_id=CHILD),
            entry(2, 0, "task_completed", seconds=5, number=1),
        ],
        children={CHILD: child},
    )

    step, first, second = steps[2].lines()
    assert (step.waited, step.ran) == (timedelta(seconds=1), timedelta(seconds=3))
    assert (first.what.strip(), first.outcome) == ("attempt 1", "ValueError: no")
    assert (first.waited, first.ran) == (timedelta(seconds=1), timedelta(seconds=1))
    assert (second.what.strip(), second.outcome) == ("attempt 2", "completed")
    assert (second.waited, second.ran) == (timedelta(seconds=1), timedelta(seconds=1))


def test_a_failed_task_shows_its_error() -> None:
    error = {"type": "Timeout", "message": "too long", "status": "failed"}

    steps = told(
        [
            STARTED,
            entry(1, 1, "task", seconds=1, number=1, name="pay", execution_id=CHILD),
            entry(2, 0, "task_failed", seconds=5, number=1, payload=error),
            entry(2, 1, "fail", seconds=5),
        ],
        status=Status.FAILED,
        error='{"type": "TaskFailed"}',
    )

    assert steps[2].outcome == "failed: Timeout: too long"
    assert (steps[3].what, steps[3].outcome) == ("failed", "TaskFailed")


def test_timers_signals_and_markers_are_steps() -> None:
    steps = told(
        [
            STARTED,
            entry(1, 1, "timer", seconds=1, number=1, payload={"seconds": 60}),
            entry(1, 2, "version", seconds=1, name="sms", payload={"version": 2}),
            entry(1, 3, "queue", seconds=1, number=2, name="mail", payload={"id": str(CHILD)}),
            entry(2, 0, "timer_fired", seconds=61, number=1),
            entry(3, 0, "signal_received", seconds=100, name="ok", payload={"by": "me"}),
            entry(4, 0, "cancel_requested", seconds=101, payload={"reason": "enough"}),
            entry(4, 1, "cancelled", seconds=101),
        ],
        status=Status.CANCELLED,
        error='{"message": "enough"}',
    )

    assert [(step.what, step.outcome) for step in steps[2:]] == [
        ("timer 1m00s", "fired"),
        ("version of sms", "2"),
        ("queue mail", f"as {CHILD}"),
        ("signal ok received", '{"by": "me"}'),
        ("asked to cancel", "enough"),
        ("cancelled", "enough"),
    ]
    assert steps[2].waited == timedelta(seconds=60)
    assert steps[5].waited == timedelta(seconds=39)


def test_a_step_the_workflow_cancelled_says_when() -> None:
    steps = told(
        [
            STARTED,
            entry(1, 1, "task", seconds=1, number=1, name="pay", execution_id=CHILD),
            entry(2, 0, "signal_received", seconds=4, name="stop"),
            entry(2, 1, "cancel", seconds=4, number=1),
        ]
    )

    assert steps[2].outcome == "cancelled by the workflow after 3.00s"


def test_an_open_one_ends_with_what_it_waits_for() -> None:
    child = state(
        id=CHILD,
        kind="task",
        status=Status.PENDING,
        created_at=at(1),
        waits_for="a free worker on queue orders",
    )
    steps = told(
        [STARTED, entry(1, 1, "task", seconds=1, number=1, name="pay", execution_id=CHILD)],
        waits_for="1 open task(s)",
        children={CHILD: child},
    )

    assert steps[2].outcome == "pending, waits for a free worker on queue orders"
    assert (steps[3].what, steps[3].outcome) == ("suspended", "waits for 1 open task(s)")
    assert (steps[3].at, steps[3].waited is not None) == (at(0.5), True)


def test_one_ended_from_outside_shows_that_end() -> None:
    steps = told(
        [STARTED],
        status=Status.FAILED,
        error='{"type": "Timeout", "message": "an hour"}',
        finished_at=at(3600),
    )

    assert (steps[-1].what, steps[-1].outcome) == ("failed", "Timeout: an hour")
    assert steps[-1].ran == timedelta(hours=1)


def test_what_this_version_does_not_know_is_still_shown() -> None:
    steps = told(
        [
            STARTED,
            entry(2, 0, "eclipse", seconds=1, name="sun", payload=1),
            entry(2, 1, "side_effect", seconds=1, number=1, payload={"value": 3}),
            entry(3, 0, "task_completed", seconds=1, number=99, payload=2),
        ]
    )

    assert [step.what for step in steps[2:-1]] == ["eclipse sun", "side_effect", "task_completed"]


def test_a_task_has_its_attempts_for_a_story() -> None:
    attempts = [
        {
            "attempt": 1,
            "started_at": at(1).isoformat(),
            "ended_at": at(2).isoformat(),
            "error": {"type": "ValueError", "message": "no"},
        }
    ]
    steps = timeline.of_task(
        state(
            kind="task",
            status=Status.COMPLETED,
            attempt=2,
            attempts=json.dumps(attempts),
            result="3",
            started_at=at(3),
            finished_at=at(5),
        )
    )

    assert [(step.what, step.outcome) for step in steps] == [
        ("enqueued", "on orders"),
        ("attempt 1", "ValueError: no"),
        ("attempt 2", "completed: 3"),
    ]
    assert steps[2].waited == timedelta(seconds=1)
    assert steps[2].ran == timedelta(seconds=2)


def test_a_task_that_waits_says_for_what() -> None:
    steps = timeline.of_task(state(kind="task", status=Status.PENDING, waits_for="its start time"))

    assert (steps[-1].what, steps[-1].outcome) == ("pending", "waits for its start time")


def test_what_is_blocked_says_by_what_and_says_it_once() -> None:
    blocked = state(status=Status.BLOCKED, waits_for="blocked: NonDeterminism: no")

    assert timeline.hindrance(blocked) == ("blocked by", "NonDeterminism: no")
    last = timeline.of_task(blocked)[-1]
    assert (last.what, last.outcome) == ("blocked", "NonDeterminism: no")

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from currant.cli import timeline
from currant.cli.timeline import Step
from currant.models import ExecutionState, ExecutionSummary, HistoryEntry, Status

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
        started_at=at(0.5),
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
    assert steps[3].ran == timedelta(seconds=1.5)


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
        ("queue mail", ""),
        ("signal ok received", '{"by": "me"}'),
        ("asked to cancel", "enough"),
        ("cancelled", "enough"),
    ]
    assert steps[2].waited == timedelta(seconds=60)
    assert steps[5].waited == timedelta(seconds=39)


def summary(**given: Any) -> ExecutionSummary:
    whole = state(**given)
    fields = {name: getattr(whole, name, None) for name in ExecutionSummary.__struct_fields__}
    return ExecutionSummary(**{**fields, "error_message": None})


def test_a_child_shows_its_id_what_came_of_it_and_how_long_it_took() -> None:
    child = summary(
        id=CHILD,
        status=Status.FAILED,
        created_at=at(1),
        started_at=at(2),
        finished_at=at(5),
    )
    error = {"type": "ValueError", "message": "no", "status": "failed"}
    steps = told(
        [
            STARTED,
            entry(1, 1, "child", seconds=1, number=1, name="ship", execution_id=CHILD),
            entry(2, 0, "child_failed", seconds=5, number=1, payload=error, execution_id=CHILD),
        ],
        children={CHILD: child},
    )

    step = steps[2]
    assert (step.what, step.execution) == ("child ship", CHILD)
    assert step.outcome == "failed: ValueError: no"
    assert (step.waited, step.ran) == (timedelta(seconds=1), timedelta(seconds=3))


def test_an_open_child_shows_what_it_waits_for() -> None:
    child = summary(id=CHILD, created_at=at(1), started_at=at(1), waits_for="signal go")
    steps = told(
        [STARTED, entry(1, 1, "child", seconds=1, number=1, name="ship", execution_id=CHILD)],
        children={CHILD: child},
    )

    assert steps[2].outcome == "suspended, waits for signal go"


def test_what_goes_to_other_executions_is_told() -> None:
    by_id = {"id": str(RUN), "execution": str(CHILD), "payload": 1}
    by_key = {"id": str(RUN), "function": "order", "key": "k-1", "payload": 1}
    steps = told(
        [
            STARTED,
            entry(1, 1, "attach", seconds=1, number=1, name="ship", payload=by_id),
            entry(1, 2, "signal", seconds=1, number=2, name="go", payload=by_id),
            entry(1, 3, "signal", seconds=1, number=3, name="go", payload=by_key),
            entry(
                *(1, 4, "request_cancel"),
                seconds=1,
                number=4,
                payload={"execution": str(CHILD), "reason": "late"},
            ),
            entry(2, 0, "attached_completed", seconds=2, number=1, payload=[7]),
        ]
    )

    assert [(step.what, step.outcome, step.execution) for step in steps[2:6]] == [
        ("wait for ship", "completed: [7]", CHILD),
        ("signal go sent", "", CHILD),
        ("signal go sent", "to order, key k-1", None),
        ("ask to cancel", "late", CHILD),
    ]
    assert steps[2].waited == timedelta(seconds=1)


def test_side_effects_show_their_value_or_error() -> None:
    steps = told(
        [
            STARTED,
            entry(1, 1, "side_effect", seconds=1, number=1, name="roll", payload={"value": 3}),
            entry(
                *(1, 2, "side_effect"),
                seconds=1,
                number=2,
                name="roll",
                payload={"error": {"type": "OSError", "message": "no"}},
            ),
            entry(1, 3, "version", seconds=1, name="x", payload={"version": 1, "inferred": True}),
            entry(1, 4, "timer", seconds=1, number=3, name="signal go", payload={"seconds": 60}),
        ]
    )

    assert [(step.what, step.outcome) for step in steps[2:6]] == [
        ("side effect roll", "3"),
        ("side effect roll", "OSError: no"),
        ("version of x", "1, inferred"),
        ("timer 1m00s for signal go", "open"),
    ]


CONTINUED = [
    STARTED,
    entry(1, 1, "task", seconds=1, number=1, name="pay", execution_id=CHILD),
    entry(2, 0, "signal_received", seconds=4, name="next", payload=None),
    entry(2, 1, "continue_as_new", seconds=4, payload={"args": {"n": 2}, "signals": []}),
    entry(3, 0, "started", seconds=5, payload={"version": 3}),
    entry(3, 1, "timer", seconds=5, number=2, payload={"seconds": 60}),
    entry(4, 0, "task_completed", seconds=6, number=1, payload=7),
]


def test_a_run_that_continued_shows_the_present_one_alone() -> None:
    steps = timeline.of_workflow(state(waits_for="timer"), CONTINUED, {}, is_whole=False)

    assert [(step.what, step.outcome) for step in steps] == [
        ("continued as new", 'with {"n":2}'),
        ("started", "version 3"),
        ("timer 1m00s", "open"),
        # It belongs to the run before, whose steps are not shown.
        ("task_completed", "completed: 7"),
        ("suspended", "waits for timer"),
    ]
    assert steps[1].waited == timedelta(seconds=1)


def test_a_run_that_continued_shows_all_runs_on_request() -> None:
    steps = timeline.of_workflow(state(waits_for="timer"), CONTINUED, {}, is_whole=True)

    assert [step.what for step in steps] == [
        *("enqueued", "started", "task pay", "signal next received", "continued as new"),
        *("started", "timer 1m00s", "task_completed", "suspended"),
    ]


def test_a_run_that_has_just_continued_waits_to_be_taken_up() -> None:
    waiting = state(status=Status.PENDING, waits_for="a free worker on queue orders")
    steps = timeline.of_workflow(waiting, CONTINUED[:4], {}, is_whole=False)

    assert len(timeline.runs_of(CONTINUED[:4])) == 2
    assert [step.what for step in steps] == ["continued as new", "pending"]


def test_how_it_ended_after_it_was_taken_back_is_not_shown() -> None:
    steps = told(
        [
            STARTED,
            entry(1, 1, "task", seconds=1, number=1, name="pay", execution_id=CHILD),
            entry(2, 0, "signal_received", seconds=4, name="stop"),
            entry(2, 1, "cancel", seconds=4, number=1),
            entry(3, 0, "task_completed", seconds=5, number=1, payload=7),
        ]
    )

    assert steps[2].outcome == "cancelled after 3.00s"
    assert len(steps) == 5


def test_that_something_was_cancelled_is_not_said_twice() -> None:
    assert timeline.with_reason("cancelled", "Cancelled: enough") == "cancelled: enough"
    assert timeline.with_reason("cancelled", "Cancelled") == "cancelled"
    assert timeline.with_reason("failed", "ValueError: no") == "failed: ValueError: no"


def test_a_step_the_workflow_cancelled_says_when() -> None:
    steps = told(
        [
            STARTED,
            entry(1, 1, "task", seconds=1, number=1, name="pay", execution_id=CHILD),
            entry(2, 0, "signal_received", seconds=4, name="stop"),
            entry(2, 1, "cancel", seconds=4, number=1),
        ]
    )

    assert steps[2].outcome == "cancelled after 3.00s"


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


def test_what_never_began_has_not_run() -> None:
    steps = told([], status=Status.CANCELLED, finished_at=at(5))

    assert (steps[-1].what, steps[-1].ran) == ("cancelled", None)


def test_one_ended_from_outside_shows_that_end() -> None:
    steps = told(
        [STARTED],
        status=Status.FAILED,
        error='{"type": "Timeout", "message": "an hour"}',
        started_at=START,
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

    assert [step.what for step in steps[2:-1]] == ["eclipse sun", "side effect", "task_completed"]


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

"""Two who want to end the same thing, or to stop and to run it: one of them does."""

from __future__ import annotations

from typing import Any

import pytest

from tests.concurrency.drain import drain
from tests.concurrency.invariants import check_always, check_at_the_end
from tests.concurrency.support import (
    Observer,
    Session,
    Worker,
    cancel,
    child_id,
    enqueue,
    enqueue_workflow,
    pass_time,
    stop_the_clock,
    task,
)


@pytest.fixture
def lease(observer: Observer, app: Session, worker: Worker) -> Any:
    """A task leased to the worker, with a timeout of ten seconds."""
    stop_the_clock(observer)
    enqueue(app, timeout=10, retry_delay=5)
    return worker.claim()[0]


def let_it_time_out(observer: Observer, *workers: Worker) -> None:
    """Let the deadline pass, and enough steady ticks for it to be enforced by the next."""
    for _ in range(12):
        pass_time(observer, 5)
        observer.call("tick", "due")
        for worker in workers:
            worker.heartbeat()


def attempts(observer: Observer, lease: Any) -> int:
    """How many attempts of it are on record as gone wrong."""
    return observer.count("attempts", lease.execution_id)


def test_a_completion_that_meets_the_loss_of_its_lease_is_refused(
    lease: Any, app: Session, worker: Worker, observer: Observer
) -> None:
    let_it_time_out(observer, worker)
    app.begin()
    app.call("tick", "recover")

    assert worker.complete(lease) == "busy"
    app.commit()

    assert worker.complete(lease) == worker.fail(lease) == worker.release(lease) == "lost"
    assert observer.status(lease.execution_id) == "pending"
    assert attempts(observer, lease) == 1
    check_always(observer)


def test_a_completion_stands_if_the_loss_of_its_lease_is_rolled_back(
    lease: Any, app: Session, worker: Worker, observer: Observer
) -> None:
    let_it_time_out(observer, worker)
    app.begin()
    app.call("tick", "recover")
    assert worker.complete(lease) == "busy"
    app.rollback()

    assert worker.complete(lease) == "accepted"
    assert attempts(observer, lease) == 0


@pytest.mark.parametrize("word", ["complete", "fail", "release"])
def test_maintenance_leaves_a_lease_that_is_just_being_ended(
    word: str, lease: Any, other_app: Session, worker: Worker, observer: Observer
) -> None:
    let_it_time_out(observer, worker)
    worker.session.begin()
    assert getattr(worker, word)(lease) == "accepted"

    assert other_app.value("select done from currant.tick('recover')") == 0
    worker.session.commit()

    assert attempts(observer, lease) == (1 if word == "fail" else 0)
    check_always(observer)


def test_the_same_completion_over_two_connections_ends_the_task_once(
    lease: Any, other_app: Session, worker: Worker, observer: Observer
) -> None:
    call = ("complete", worker.id, lease.execution_id, lease.token, None)
    worker.session.begin()

    assert worker.session.call(*call) == "accepted"
    assert other_app.call(*call) == "busy"
    worker.session.commit()

    assert other_app.call(*call) == "already"
    check_always(observer)


def test_a_completion_and_a_failure_at_the_same_time_leave_one_of_them(
    lease: Any, other_app: Session, worker: Worker, observer: Observer
) -> None:
    worker.session.begin()
    assert worker.fail(lease) == "accepted"
    call = ("complete", worker.id, lease.execution_id, lease.token, None)
    assert other_app.call(*call) == "busy"
    worker.session.rollback()

    assert other_app.call(*call) == "accepted"
    assert worker.fail(lease) == "already"
    assert observer.status(lease.execution_id) == "completed"
    assert attempts(observer, lease) == 0


def test_a_task_that_completes_before_its_cancellation_commits_is_completed(
    lease: Any, app: Session, worker: Worker, observer: Observer
) -> None:
    app.begin()
    assert app.call("cancel", lease.execution_id) == "running"
    assert worker.heartbeat(lease) == []
    assert worker.complete(lease) == "accepted"
    app.commit()

    assert observer.status(lease.execution_id) == "completed"


def test_a_task_cancelled_while_it_is_claimed_is_told_to_stop(
    app: Session, worker: Worker, observer: Observer
) -> None:
    execution = enqueue(app)
    worker.session.begin()
    [lease] = worker.claim()
    assert app.call("cancel", execution) == "pending"
    worker.session.commit()

    assert [answer.answer for answer in worker.heartbeat(lease)] == ["cancel"]
    assert worker.fail(lease) == "accepted"
    assert observer.status(execution) == "cancelled"


@pytest.mark.parametrize("word", ["fail", "release"])
def test_a_task_cancelled_while_it_is_queued_again_never_runs_again(
    word: str, lease: Any, app: Session, worker: Worker, observer: Observer
) -> None:
    worker.session.begin()
    getattr(worker, word)(lease)
    assert app.call("cancel", lease.execution_id) == "running"
    worker.session.commit()

    pass_time(observer, 60)
    observer.call("tick")
    assert worker.claim() == []
    assert observer.status(lease.execution_id) == "cancelled"
    check_at_the_end(observer)


def test_a_task_cancelled_while_it_becomes_due_never_runs(
    app: Session, other_app: Session, worker: Worker, observer: Observer
) -> None:
    stop_the_clock(observer)
    execution = enqueue(app, delay=10)
    pass_time(observer, 11)
    other_app.begin()
    other_app.call("tick", "due")
    assert app.call("cancel", execution) == "pending"
    other_app.commit()

    assert worker.claim() == []
    assert observer.status(execution) == "cancelled"


def test_a_task_that_two_cancel_at_once_is_cancelled_once(
    app: Session, other_app: Session, worker: Worker, observer: Observer
) -> None:
    execution = enqueue(app)
    app.begin()
    assert app.call("cancel", execution) == "cancelled"
    other_app.call("cancel", execution)
    app.rollback()
    assert worker.claim() == []

    assert observer.status(execution) == "cancelled"
    check_at_the_end(observer)


def test_a_workflow_cancelled_while_its_start_is_claimed_gets_the_request_as_an_event(
    app: Session, worker: Worker, observer: Observer
) -> None:
    stop_the_clock(observer)
    workflow = enqueue_workflow(app)
    worker.session.begin()
    [lease] = worker.claim()
    app.call("cancel", workflow)
    worker.session.commit()
    assert worker.advance(lease) == "accepted"

    [lease] = worker.claim()
    assert [event["kind"] for event in lease.inbox] == ["cancel_requested"]
    check_always(observer)


def test_a_workflow_cancelled_while_somebody_looks_at_it_never_runs(
    app: Session, worker: Worker, other_worker: Worker, observer: Observer
) -> None:
    stop_the_clock(observer)
    workflow = enqueue_workflow(app, delay=3600)
    app.call("signal", workflow, "s")
    worker.session.begin()
    assert worker.claim() == []
    app.call("cancel", workflow)
    worker.session.commit()

    assert other_worker.claim() == []
    assert observer.status(workflow) == "cancelled"
    drain(observer, worker)
    check_at_the_end(observer)


def test_two_cancellations_of_children_in_opposite_order_do_not_deadlock(
    app: Session, worker: Worker, observer: Observer
) -> None:
    stop_the_clock(observer)
    parent = enqueue_workflow(app)
    children = [task(1), task(2)]
    worker.advance(worker.claim()[0], *children)
    app.call("signal", parent, "s")
    [lease] = worker.claim(0)

    app.begin()
    app.call("cancel", child_id(children[1]))
    worker.session.begin()
    assert worker.advance(lease, cancel(1), cancel(2)) == "accepted"
    app.call("cancel", child_id(children[0]))
    worker.session.commit()
    app.commit()

    check_always(observer)
    drain(observer, worker)
    check_at_the_end(observer)


def test_a_workflow_that_runs_out_of_time_while_its_task_completes_leaves_nothing(
    app: Session, worker: Worker, other_app: Session, observer: Observer
) -> None:
    stop_the_clock(observer)
    parent = enqueue_workflow(app, timeout=20)
    worker.advance(worker.claim()[0], task(1, timeout=3600))
    [lease] = worker.claim()
    let_it_time_out(observer, worker)

    worker.session.begin()
    assert worker.complete(lease) == "accepted"
    pass_time(observer, 5)
    other_app.call("tick", "due")
    worker.session.commit()

    assert observer.status(parent) == "failed"
    drain(observer, worker)
    check_at_the_end(observer)

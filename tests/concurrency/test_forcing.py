"""What is ended by force while somebody has it in hand: nobody waits, and soon it is over."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from tests.concurrency.drain import drain
from tests.concurrency.invariants import check_always, check_at_the_end
from tests.concurrency.support import (
    Observer,
    Session,
    Worker,
    child_id,
    enqueue,
    enqueue_workflow,
    force,
    pass_time,
    stop_the_clock,
    task,
)


@pytest.fixture(autouse=True)
def _stopped_clock(observer: Observer) -> None:
    stop_the_clock(observer)


def tick(observer: Observer) -> None:
    """The next tick, with what was left to it due."""
    pass_time(observer, 0.5)
    observer.call("tick", "due")


@pytest.mark.parametrize("ending", ["commit", "rollback"])
def test_a_task_that_is_just_completing_is_left_to_the_next_tick(
    ending: str, worker: Worker, other_app: Session, observer: Observer
) -> None:
    enqueue(other_app)
    [lease] = worker.claim()
    worker.session.begin()
    worker.complete(lease, 1)

    assert force(other_app, lease.execution_id) == "running"
    check_always(observer)
    worker.session.execute(ending)
    tick(observer)

    completed = ending == "commit"
    assert observer.status(lease.execution_id) == ("completed" if completed else "cancelled")
    assert worker.complete(lease, 1) == ("already" if completed else "lost")
    drain(observer, worker)
    check_at_the_end(observer)


@pytest.mark.parametrize("ending", ["commit", "rollback"])
def test_a_workflow_that_is_just_advancing_is_ended_with_what_it_then_started(
    ending: str, worker: Worker, other_app: Session, observer: Observer
) -> None:
    workflow = enqueue_workflow(other_app)
    [lease] = worker.claim()
    started = task(1)
    worker.session.begin()
    worker.advance(lease, started)

    assert force(other_app, workflow) == "running"
    check_always(observer)
    worker.session.execute(ending)
    assert observer.status(workflow) == ("suspended" if ending == "commit" else "running")
    tick(observer)

    assert observer.status(workflow) == "cancelled"
    assert worker.advance(lease, started) == "lost"
    assert observer.count("outcomes") == (2 if ending == "commit" else 1)
    if ending == "commit":
        assert observer.status(child_id(started)) == "cancelled"
    drain(observer, worker)
    check_at_the_end(observer)


def test_what_is_under_a_workflow_that_is_locked_is_left_until_that_ends(
    worker: Worker, other_worker: Worker, other_app: Session, observer: Observer
) -> None:
    workflow = enqueue_workflow(other_app)
    running = task(1)
    worker.advance(worker.claim()[0], running)
    [lease] = worker.claim()
    other_app.call("signal", workflow, "s")
    [activation] = worker.claim()
    worker.session.begin()
    worker.advance(activation)

    force(other_app, workflow)
    assert observer.status(child_id(running)) == "running"
    worker.session.commit()
    tick(observer)

    assert observer.status(workflow) == observer.status(child_id(running)) == "cancelled"
    assert worker.complete(lease) == "lost"
    drain(observer, worker)
    check_at_the_end(observer)


def test_what_a_workflow_that_was_just_completing_left_running_is_ended_too(
    worker: Worker, other_app: Session, observer: Observer
) -> None:
    workflow = enqueue_workflow(other_app)
    worker.advance(worker.claim()[0], task(1))
    [lease] = worker.claim()
    other_app.call("signal", workflow, "s")
    [activation] = worker.claim()
    worker.session.begin()
    worker.end(activation)

    force(other_app, workflow)
    worker.session.commit()
    assert observer.status(lease.execution_id) == "running"
    tick(observer)

    assert observer.status(workflow) == "completed"
    assert observer.status(lease.execution_id) == "cancelled"
    drain(observer, worker)
    check_at_the_end(observer)


@pytest.mark.parametrize("ending", ["commit", "rollback"])
def test_nobody_waits_for_an_application_that_forces_and_sits_in_its_transaction(
    ending: str, app: Session, worker: Worker, other_app: Session, observer: Observer
) -> None:
    workflow = enqueue_workflow(other_app)
    worker.advance(worker.claim()[0], task(1), task(2))
    leases = worker.claim(1)
    other_app.call("signal", workflow, "s")
    [activation] = worker.claim(0)
    app.begin()
    assert force(app, workflow) == "cancelled"

    assert worker.complete(leases[0]) == "busy"
    assert worker.advance(activation) == "busy"
    worker.claim(1)
    worker.heartbeat(*leases, activation)
    for duty in ("due", "recover"):
        other_app.call("tick", duty)
    assert other_app.call("signal", workflow, "s")
    other_app.call("cancel", workflow)
    force(other_app, workflow)
    check_always(observer)
    app.execute(ending)

    if ending == "commit":
        assert worker.complete(leases[0]) == worker.advance(activation) == "lost"
        answers = worker.heartbeat(*leases, activation)
        assert [answer.answer for answer in answers] == ["lost", "lost"]
    else:
        assert worker.complete(leases[0]) == worker.advance(activation) == "accepted"
    tick(observer)
    assert observer.status(workflow) == "cancelled"
    drain(observer, worker)
    check_at_the_end(observer)


def test_what_stays_locked_is_tried_again_in_longer_and_longer_steps(
    worker: Worker, other_app: Session, observer: Observer
) -> None:
    enqueue(other_app)
    [lease] = worker.claim()
    worker.session.begin()
    worker.complete(lease)
    force(other_app, lease.execution_id)

    waits = []
    for _ in range(10):
        [row] = observer.execute(
            "select extract(epoch from due_at - currant._now())::float as wait"
            " from currant.delayed where kind = 'force'"
        )
        waits.append(row.wait)
        pass_time(observer, row.wait)
        observer.call("tick", "due")

    assert waits == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 6.4, 6.4, 6.4]
    worker.session.rollback()
    pass_time(observer, 6.4)
    observer.call("tick", "due")
    assert observer.status(lease.execution_id) == "cancelled"


def test_those_who_run_it_are_told_at_once(
    worker: Worker,
    other_worker: Worker,
    other_app: Session,
    open_session: Callable[[], Session],
) -> None:
    workflow = enqueue_workflow(other_app)
    worker.advance(worker.claim()[0], task(1))
    leases: list[Any] = worker.claim()
    other_app.call("signal", workflow, "s")
    leases += other_worker.claim()
    listener = open_session()
    listener.execute("listen currant_cancel")

    force(other_app, workflow)

    told = {str(note.payload) for note in _notifications(listener.connection)}
    assert told == {str(worker.id), str(other_worker.id)}
    assert [lease.kind for lease in leases] == ["task", "workflow"]


def _notifications(connection: psycopg.Connection[Any]) -> list[psycopg.Notify]:
    connection.execute("select 1")
    return list(connection.notifies(timeout=0))

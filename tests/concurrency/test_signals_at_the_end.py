"""A signal that is to start a workflow where there is none, sent while the workflow ends."""

from __future__ import annotations

import uuid

import pytest

from tests.concurrency.drain import drain
from tests.concurrency.invariants import check_always, check_at_the_end
from tests.concurrency.support import (
    Observer,
    Session,
    Worker,
    enqueue,
    enqueue_and_signal,
    pass_time,
    stop_the_clock,
)


@pytest.fixture(autouse=True)
def _stopped_clock(observer: Observer) -> None:
    stop_the_clock(observer)


def holder(observer: Observer, key: str = "k") -> uuid.UUID:
    """The execution that has the key."""
    found: uuid.UUID = observer.value(
        "select execution_id from currant.keys where function = 'f' and key = %s", key
    )
    return found


def test_a_signal_whose_sender_commits_after_the_end_starts_another_workflow(
    app: Session, other_app: Session, worker: Worker, observer: Observer
) -> None:
    first = enqueue_and_signal(other_app, "k")
    app.begin()
    assert enqueue_and_signal(app, "k") == first

    assert worker.end(worker.claim()[0]) == "accepted"
    app.commit()
    check_always(observer)
    assert holder(observer) == first
    assert worker.claim() == []

    [lease] = worker.claim()
    assert lease.execution_id == holder(observer) != first
    assert [event["name"] for event in lease.inbox] == ["s"]
    assert worker.end(lease) == "accepted"
    drain(observer, worker)
    check_at_the_end(observer)


def test_a_signal_whose_sender_rolls_back_starts_nothing(
    app: Session, other_app: Session, worker: Worker, observer: Observer
) -> None:
    first = enqueue_and_signal(other_app, "k")
    app.begin()
    enqueue_and_signal(app, "k")
    worker.end(worker.claim()[0])
    app.rollback()
    assert worker.claim() == []

    assert holder(observer) == first
    drain(observer, worker)
    check_at_the_end(observer)


def test_a_claim_does_not_wait_for_the_key_but_comes_back_to_it(
    app: Session, other_app: Session, worker: Worker, observer: Observer
) -> None:
    first = enqueue_and_signal(other_app, "k")
    other_app.call("cancel", first)
    app.begin()
    enqueue(app, key="k")

    assert worker.claim() == []
    check_always(observer)
    assert observer.count("delayed", first) == 1
    app.rollback()
    pass_time(observer, 1)
    observer.call("tick", "due")
    assert worker.claim() == []

    [lease] = worker.claim()
    assert lease.execution_id == holder(observer) != first
    worker.end(lease)
    drain(observer, worker)
    check_at_the_end(observer)


def test_two_claims_that_meet_the_signals_of_an_ended_workflow_start_one(
    other_app: Session, worker: Worker, other_worker: Worker, observer: Observer
) -> None:
    first = enqueue_and_signal(other_app, "k")
    enqueue_and_signal(other_app, "k")
    other_app.call("cancel", first)
    worker.session.begin()
    [lease] = worker.claim(0, 1)

    other_app.execute(
        "insert into currant.ready (execution_id, queue, rank, attempt, is_workflow)"
        " values (%s, 'flows', 0, 0, true)",
        first,
    )
    assert other_worker.claim(0, 1) == []
    worker.session.commit()

    assert lease.execution_id == holder(observer)
    assert len(lease.inbox) == 2
    assert observer.value("select count(*) from currant.executions") == 2
    worker.end(lease)
    drain(observer, worker)
    check_at_the_end(observer)

"""A signal that is to start a workflow where there is none, sent while the workflow ends."""

from __future__ import annotations

import uuid
from collections.abc import Callable

import pytest
from psycopg.types.json import Jsonb

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


def time_out(session: Session, execution: uuid.UUID) -> None:
    """End a workflow that has signals unread, as when its time is used up."""
    session.execute(
        "select currant._end_workflow(%s, 'failed', %s, currant._now())",
        execution,
        Jsonb({"type": "Timeout"}),
    )


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
    time_out(other_app, first)
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
    time_out(other_app, first)
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


@pytest.mark.parametrize("ending", ["commit", "rollback"])
def test_a_claim_does_not_wait_for_a_signal_with_the_same_id(
    ending: str, app: Session, other_app: Session, worker: Worker, observer: Observer
) -> None:
    first = enqueue_and_signal(other_app, "k", signal_key="message")
    time_out(other_app, first)
    second = enqueue_and_signal(other_app, "k")
    app.begin()
    app.call("signal_by_key", "f", "k", "s", Jsonb(1), Jsonb({"key": "message"}))

    [lease] = worker.claim()
    assert lease.execution_id == second
    assert len(lease.inbox) == 1
    check_always(observer)
    assert observer.count("delayed", first) == 1
    # Nor does the application find the claim in its way when it uses the key.
    assert enqueue_and_signal(app, "k", signal_key="other") == second
    assert worker.advance(lease) == "accepted"
    app.execute(ending)
    pass_time(observer, 1)
    observer.call("tick", "due")
    worker.claim()

    assert observer.count("inbox", first) == 0
    assert observer.count("inbox", second) == (2 if ending == "commit" else 1)
    drain(observer, worker)
    check_at_the_end(observer)


def test_a_repeated_call_waits_for_the_first_and_delivers_nothing(
    app: Session, open_session: Callable[[], Session], worker: Worker, observer: Observer
) -> None:
    repeating = open_session()
    app.begin()
    first = enqueue_and_signal(app, "k", signal_key="message")
    repeated = repeating.start(lambda: enqueue_and_signal(repeating, "k", signal_key="message"))
    observer.wait_until_blocked(repeating, repeated)
    app.commit()

    assert repeated.result() == first
    assert worker.end(worker.claim()[0]) == "accepted"
    assert enqueue_and_signal(app, "k", signal_key="message") == first
    assert observer.value("select count(*) from currant.executions") == 1
    drain(observer, worker)
    check_at_the_end(observer)


def test_a_repeated_call_whose_first_was_rolled_back_is_the_first(
    app: Session, open_session: Callable[[], Session], worker: Worker, observer: Observer
) -> None:
    repeating = open_session()
    app.begin()
    undone = enqueue_and_signal(app, "k", signal_key="message")
    repeated = repeating.start(lambda: enqueue_and_signal(repeating, "k", signal_key="message"))
    observer.wait_until_blocked(repeating, repeated)
    app.rollback()

    assert repeated.result() == holder(observer) != undone
    [lease] = worker.claim()
    assert len(lease.inbox) == 1
    assert worker.end(lease) == "accepted"
    drain(observer, worker)
    check_at_the_end(observer)


@pytest.mark.parametrize("options", [{}, {"force": True}])
def test_what_is_cancelled_while_its_sender_is_in_flight_does_not_come_back(
    options: dict[str, bool],
    app: Session,
    other_app: Session,
    worker: Worker,
    observer: Observer,
) -> None:
    first = enqueue_and_signal(other_app, "k")
    app.begin()
    enqueue_and_signal(app, "k")
    pass_time(observer, 1)
    assert other_app.call("cancel", first, "no", Jsonb(options)) == "cancelled"
    app.commit()

    assert worker.claim() == []
    assert holder(observer) == first
    drain(observer, worker)
    check_at_the_end(observer)
    assert observer.value("select count(*) from currant.executions") == 1

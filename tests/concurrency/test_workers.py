"""A worker is declared dead, comes back, or says goodbye while calls of it are in flight."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
import pytest

from tests.concurrency.drain import drain
from tests.concurrency.invariants import check_always, check_at_the_end
from tests.concurrency.support import (
    Observer,
    Session,
    Worker,
    enqueue,
    enqueue_workflow,
    pass_time,
    stop_the_clock,
)


@pytest.fixture(autouse=True)
def _stopped_clock(observer: Observer) -> None:
    stop_the_clock(observer)


def fall_silent(observer: Observer, *alive: Worker) -> None:
    """Let heartbeat timeouts pass in steady ticks; only the given workers send any."""
    for _ in range(8):
        pass_time(observer, 10)
        for worker in alive:
            worker.heartbeat()
        observer.call("tick", "due")


def test_a_worker_whose_claim_is_in_flight_is_not_declared_dead(
    app: Session, worker: Worker, other_app: Session, observer: Observer
) -> None:
    execution = enqueue(app)
    fall_silent(observer)
    worker.session.begin()
    [lease] = worker.claim()

    other_app.call("tick", "recover")
    worker.session.commit()
    assert worker.heartbeat(lease) == []

    other_app.call("tick", "recover")
    assert observer.status(execution) == "running"
    check_always(observer)


def test_the_leases_of_a_claim_in_flight_are_found_by_a_later_round(
    app: Session, worker: Worker, other_worker: Worker, observer: Observer
) -> None:
    execution = enqueue(app, retry_delay=0)
    fall_silent(observer, other_worker)
    worker.session.begin()
    [lease] = worker.claim()
    observer.call("tick", "recover")
    worker.session.commit()

    observer.call("tick", "recover")

    assert worker.complete(lease) == "lost"
    [again] = other_worker.claim()
    assert (again.execution_id, again.attempt) == (execution, 2)
    check_always(observer)


def test_a_worker_that_is_being_declared_dead_gets_no_lease(
    app: Session, open_session: Callable[[], Session], other_worker: Worker, observer: Observer
) -> None:
    enqueue(app)
    dying = Worker(open_session(), ["tasks"])
    fall_silent(observer, other_worker)
    app.begin()
    app.call("tick", "recover")

    claim = dying.session.start(dying.claim)
    observer.wait_until_blocked(dying.session, claim)
    assert len(other_worker.claim()) == 1
    app.commit()

    with pytest.raises(psycopg.Error) as error:
        claim.result()
    assert error.value.sqlstate == "KR002"
    assert observer.value("select count(*) = 0 from currant.leases where worker_id = %s", dying.id)


def test_a_heartbeat_waits_only_for_the_decision_about_its_own_worker(
    open_session: Callable[[], Session], app: Session, other_worker: Worker, observer: Observer
) -> None:
    dying = Worker(open_session(), ["tasks"])
    fall_silent(observer, other_worker)
    app.begin()
    app.call("tick", "recover")

    heartbeat = dying.session.start(dying.heartbeat)
    observer.wait_until_blocked(dying.session, heartbeat)
    assert other_worker.heartbeat() == []
    app.rollback()

    assert heartbeat.result() == []
    observer.call("tick", "recover")
    assert dying.claim() == []


def test_nobody_is_declared_dead_right_after_a_gap_in_the_ticks(
    app: Session, worker: Worker, other_worker: Worker, observer: Observer
) -> None:
    enqueue(app)
    [lease] = worker.claim()
    fall_silent(observer, worker, other_worker)
    pass_time(observer, 3600)

    other_worker.heartbeat()
    observer.call("tick")

    assert worker.heartbeat(lease) == []
    observer.call("tick")
    assert worker.complete(lease) == "accepted"


def test_two_ticks_at_once_do_the_work_once(
    app: Session, other_app: Session, worker: Worker, other_worker: Worker, observer: Observer
) -> None:
    enqueue(app)
    worker.claim()
    fall_silent(observer, other_worker)

    app.begin()
    assert app.value("select done from currant.tick('recover')") == 1
    assert other_app.value("select done from currant.tick('recover')") == 0
    app.commit()

    check_always(observer)
    assert other_app.value("select done from currant.tick('recover')") == 0


def test_resume_waits_for_a_claim_in_flight_and_returns_its_leases(
    app: Session, worker: Worker, open_session: Callable[[], Session], observer: Observer
) -> None:
    tasks = {enqueue(app), enqueue_workflow(app)}
    new = open_session()
    worker.session.begin()
    claimed = worker.claim()

    resume = new.start(new.rows, "resume", worker.id)
    observer.wait_until_blocked(new, resume)
    worker.session.commit()

    found = {(lease.execution_id, lease.token) for lease in resume.result()}
    assert found == {(lease.execution_id, lease.token) for lease in claimed}
    assert {execution for execution, _ in found} == tasks


def test_resume_after_a_claim_that_never_committed_returns_nothing(
    app: Session, worker: Worker, open_session: Callable[[], Session], observer: Observer
) -> None:
    enqueue(app)
    new = open_session()
    worker.session.begin()
    worker.claim()

    resume = new.start(new.rows, "resume", worker.id)
    observer.wait_until_blocked(new, resume)
    observer.execute("select pg_terminate_backend(%s)", worker.session.pid)

    assert resume.result() == []
    assert observer.count("ready") == 1


def test_a_worker_that_says_goodbye_gives_back_without_counting_an_attempt(
    app: Session, worker: Worker, other_worker: Worker, observer: Observer
) -> None:
    execution, workflow = enqueue(app), enqueue_workflow(app)
    worker.claim()

    worker.session.begin()
    assert worker.session.call("deregister_worker", worker.id) == 2
    assert other_worker.claim() == []
    worker.session.commit()

    again = {lease.execution_id: lease.attempt for lease in other_worker.claim()}
    assert again == {execution: 1, workflow: 1}
    assert worker.session.call("deregister_worker", worker.id) == 0
    drain_all(observer, other_worker)


def test_a_goodbye_in_the_middle_of_a_claim_gives_its_leases_back_too(
    app: Session, worker: Worker, open_session: Callable[[], Session], observer: Observer
) -> None:
    execution = enqueue(app)
    new = open_session()
    worker.session.begin()
    worker.claim()

    goodbye = new.start(new.call, "deregister_worker", worker.id)
    observer.wait_until_blocked(new, goodbye)
    worker.session.commit()

    assert goodbye.result() == 1
    assert observer.status(execution) == "pending"
    with pytest.raises(psycopg.Error) as error:
        worker.claim()
    assert error.value.sqlstate == "KR002"
    check_always(observer)


def test_a_goodbye_leaves_a_lease_that_is_just_being_ended(
    app: Session, worker: Worker, open_session: Callable[[], Session], observer: Observer
) -> None:
    enqueue(app)
    [lease] = worker.claim()
    new = open_session()
    new.refuse_to_wait()
    worker.session.begin()
    worker.complete(lease)

    assert new.call("deregister_worker", worker.id) == 0
    worker.session.commit()

    observer.call("tick")
    check_at_the_end(observer)


def drain_all(observer: Observer, worker: Worker) -> None:
    """Drain, also of what the worker itself still holds."""
    for lease in worker.session.rows("resume", worker.id):
        worker.release(lease)
    drain(observer, worker)
    check_at_the_end(observer)


def test_a_new_worker_gets_soon_what_an_old_one_keeps_giving_back(
    app: Session,
    worker: Worker,
    open_session: Callable[[], Session],
    observer: Observer,
) -> None:
    workflow = enqueue_workflow(app)
    for _ in range(8):
        [lease] = worker.claim()
        worker.release(lease, "too new for this worker")
        pass_time(observer, 400)
        observer.call("tick", "due")
    new = Worker(open_session(), ["flows"])
    # Faster than the new one, once more.
    [lease] = worker.claim()
    worker.release(lease, "too new for this worker")

    pass_time(observer, 2)
    observer.call("tick", "due")

    [found] = new.claim()
    assert found.execution_id == workflow
    check_always(observer)

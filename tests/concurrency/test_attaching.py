"""A workflow attaches to another execution, which ends in the same moment: it hears of it once."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest

from tests.concurrency.drain import drain
from tests.concurrency.invariants import check_always, check_at_the_end
from tests.concurrency.support import (
    Observer,
    Session,
    Worker,
    anew,
    attach,
    cancel,
    enqueue,
    enqueue_workflow,
    pass_time,
    stop_the_clock,
)

Attached = tuple[uuid.UUID, Any]


@pytest.fixture
def attached(lease: Any, app: Session, worker: Worker) -> Attached:
    """A task that the workflow has attached to, and the workflow leased once more."""
    target = enqueue(app)
    worker.advance(lease, attach(1, target))
    app.call("signal", lease.execution_id, "s")
    [woken] = worker.claim(0)
    return target, woken


def look_again(observer: Observer, times: int = 1) -> None:
    """Let the next checks of what was attached to become due."""
    for _ in range(times):
        pass_time(observer, 70)
        observer.call("tick", "due")


def heard(observer: Observer, workflow: uuid.UUID) -> list[str]:
    """The ends of which the workflow was told."""
    rows = observer.execute(
        """
        select kind from currant.inbox where workflow_id = %s and kind like 'attached%%'
        union all
        select kind from currant.history_entries
        where workflow_id = %s and position = 0 and kind like 'attached%%'
        """,
        workflow,
        workflow,
    )
    return [row.kind for row in rows]


def finish(observer: Observer, worker: Worker) -> None:
    drain(observer, worker)
    check_at_the_end(observer)


def test_an_end_in_an_open_transaction_is_found_when_it_has_committed(
    lease: Any, app: Session, worker: Worker, observer: Observer
) -> None:
    target = enqueue(app)
    app.begin()
    assert app.call("cancel", target) == "cancelled"

    assert worker.advance(lease, attach(1, target)) == "accepted"
    look_again(observer, 3)
    assert heard(observer, lease.execution_id) == []
    app.commit()
    check_always(observer)
    look_again(observer)

    assert heard(observer, lease.execution_id) == ["attached_failed"]
    look_again(observer, 3)
    assert heard(observer, lease.execution_id) == ["attached_failed"]
    [woken] = worker.claim()
    assert woken.inbox[0]["payload"]["status"] == "cancelled"
    worker.advance(woken)
    finish(observer, worker)


def test_an_end_that_commits_while_the_attachment_is_in_flight_is_found(
    lease: Any, app: Session, worker: Worker, other_worker: Worker, observer: Observer
) -> None:
    target = enqueue(app)
    [running] = other_worker.claim()
    worker.session.begin()
    assert worker.advance(lease, attach(1, target)) == "accepted"
    assert other_worker.complete(running, "done") == "accepted"
    worker.session.commit()
    check_always(observer)
    assert heard(observer, lease.execution_id) == []

    look_again(observer)

    [woken] = worker.claim()
    assert [event["kind"] for event in woken.inbox] == ["attached_completed"]
    assert woken.inbox[0]["payload"] == "done"
    look_again(observer, 3)
    assert heard(observer, lease.execution_id) == ["attached_completed"]
    worker.end(woken)
    finish(observer, worker)


def test_an_end_that_is_rolled_back_is_not_told_and_the_next_one_is(
    lease: Any, app: Session, worker: Worker, observer: Observer
) -> None:
    target = enqueue(app)
    app.begin()
    app.call("cancel", target)
    worker.advance(lease, attach(1, target))
    app.rollback()
    look_again(observer, 3)
    assert heard(observer, lease.execution_id) == []

    [running] = worker.claim()
    worker.complete(running)

    assert heard(observer, lease.execution_id) == ["attached_completed"]
    finish(observer, worker)


def test_an_end_after_the_attachment_is_told_with_it(
    lease: Any, app: Session, worker: Worker, other_worker: Worker, observer: Observer
) -> None:
    target = enqueue(app)
    worker.advance(lease, attach(1, target))
    [running] = other_worker.claim()
    other_worker.session.begin()
    other_worker.complete(running)
    look_again(observer)
    assert heard(observer, lease.execution_id) == []
    other_worker.session.commit()

    assert heard(observer, lease.execution_id) == ["attached_completed"]
    look_again(observer, 3)
    assert heard(observer, lease.execution_id) == ["attached_completed"]
    finish(observer, worker)


def test_the_checks_stop_when_no_end_can_be_in_flight_any_more(
    lease: Any, app: Session, other_app: Session, worker: Worker, observer: Observer
) -> None:
    target = enqueue(app)
    app.begin()
    enqueue(app)
    worker.advance(lease, attach(1, target))
    look_again(observer, 4)
    assert observer.count("delayed", lease.execution_id) == 1
    app.commit()

    look_again(observer, 2)

    assert observer.count("delayed", lease.execution_id) == 0
    other_app.call("cancel", target)
    assert heard(observer, lease.execution_id) == ["attached_failed"]
    finish(observer, worker)


@pytest.mark.parametrize("ending", ["commit", "rollback"])
def test_an_attachment_taken_back_during_the_end_leaves_nothing(
    ending: str,
    attached: Attached,
    app: Session,
    worker: Worker,
    observer: Observer,
) -> None:
    target, woken = attached
    app.begin()
    app.call("cancel", target)

    assert worker.advance(woken, cancel(1)) == "accepted"
    app.execute(ending)
    check_always(observer)

    finish(observer, worker)
    assert len(heard(observer, woken.execution_id)) <= 1


@pytest.mark.parametrize("ending", ["commit", "rollback"])
def test_an_end_during_the_taking_back_leaves_nothing(
    ending: str,
    attached: Attached,
    app: Session,
    worker: Worker,
    other_app: Session,
    observer: Observer,
) -> None:
    target, woken = attached

    worker.session.begin()
    assert worker.advance(woken, cancel(1)) == "accepted"
    assert other_app.call("cancel", target) == "cancelled"
    worker.session.execute(ending)
    check_always(observer)
    look_again(observer, 2)
    check_always(observer)

    told = heard(observer, woken.execution_id)
    # Taken back or not, it may hear of it; if the taking back was undone it has to.
    assert told == ["attached_failed"] or (told == [] and ending == "commit")
    if ending == "rollback":
        worker.advance(woken)
    finish(observer, worker)


@pytest.mark.parametrize("end", ["end", "continue"])
def test_a_workflow_that_goes_while_the_other_ends_leaves_nothing(
    end: str,
    attached: Attached,
    app: Session,
    worker: Worker,
    observer: Observer,
) -> None:
    target, woken = attached
    app.begin()
    app.call("cancel", target)

    if end == "end":
        assert worker.end(woken) == "accepted"
    else:
        assert worker.advance(woken, anew()) == "accepted"
    check_always(observer)
    app.commit()
    check_always(observer)

    finish(observer, worker)


def test_all_who_have_attached_are_told(
    app: Session, worker: Worker, other_worker: Worker, observer: Observer
) -> None:
    stop_the_clock(observer)
    target = enqueue(app)
    waiting = [enqueue_workflow(app) for _ in range(3)]
    for lease in worker.claim(0):
        worker.advance(lease, attach(1, target), attach(2, target))
    [running] = worker.claim()

    worker.session.begin()
    worker.complete(running, 7)
    app.call("signal", waiting[0], "s")
    [busy] = other_worker.claim()
    assert other_worker.advance(busy, attach(3, target)) == "accepted"
    worker.session.commit()
    look_again(observer)

    woken = {lease.execution_id: lease for lease in worker.claim()}
    assert woken.keys() == set(waiting)
    numbers = {
        workflow: sorted(event["number"] for event in lease.inbox)
        for workflow, lease in woken.items()
    }
    assert numbers == {waiting[0]: [1, 2, 3], waiting[1]: [1, 2], waiting[2]: [1, 2]}
    assert all(event["payload"] == 7 for lease in woken.values() for event in lease.inbox)
    for lease in woken.values():
        worker.end(lease)
    finish(observer, worker)


def test_two_workflows_that_attach_to_each_other_are_told_when_one_is_cancelled(
    app: Session, worker: Worker, observer: Observer
) -> None:
    stop_the_clock(observer)
    one, other = enqueue_workflow(app), enqueue_workflow(app)
    leases = {lease.execution_id: lease for lease in worker.claim()}
    worker.advance(leases[one], attach(1, other))
    worker.advance(leases[other], attach(1, one))

    app.call("cancel", one)
    [asked] = worker.claim()
    worker.advance(asked, {"kind": "cancelled", "payload": {"error": {"type": "Cancelled"}}})

    assert heard(observer, other) == ["attached_failed"]
    finish(observer, worker)


def test_an_application_that_sits_on_an_end_keeps_no_attached_workflow_from_anything(
    lease: Any,
    app: Session,
    worker: Worker,
    other_worker: Worker,
    open_session: Callable[[], Session],
    observer: Observer,
) -> None:
    target, another = enqueue(app), enqueue(app)
    worker.advance(lease, attach(1, target))
    app.begin()
    app.call("cancel", target)

    other = open_session()
    other.refuse_to_wait()
    other.call("signal", lease.execution_id, "s")
    [woken] = worker.claim(0)
    assert worker.advance(woken, attach(2, another)) == "accepted"
    look_again(other)  # type: ignore[arg-type]
    for running in other_worker.claim():
        assert other_worker.complete(running) == "accepted"
    [woken] = worker.claim(0)
    assert [event["number"] for event in woken.inbox] == [2]
    assert worker.advance(woken) == "accepted"
    app.commit()

    look_again(observer)
    assert sorted(heard(observer, lease.execution_id)) == ["attached_completed", "attached_failed"]
    finish(observer, worker)

"""A child and its parent do something in the same moment: each hears of the other, and once."""

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
    cancel,
    child,
    child_id,
    enqueue,
    enqueue_workflow,
    pass_time,
    stop_the_clock,
)


@pytest.fixture(autouse=True)
def _stopped_clock(observer: Observer) -> None:
    stop_the_clock(observer)


@pytest.fixture
def parent(app: Session) -> uuid.UUID:
    """A workflow that has not begun."""
    return enqueue_workflow(app)


def begin(worker: Worker, *commands: dict[str, Any]) -> None:
    """Run the first activation of the only workflow there is."""
    [lease] = worker.claim(0)
    assert worker.advance(lease, *commands) == "accepted"


def wake(app: Session, worker: Worker, workflow: uuid.UUID) -> Any:
    """Have the worker hold the workflow."""
    app.call("signal", workflow, "s")
    return next(lease for lease in worker.claim(0) if lease.execution_id == workflow)


def hold_alone(app: Session, worker: Worker, workflow: uuid.UUID) -> Any:
    """Have the worker hold the workflow, and none of its children that have not begun."""
    lease = wake(app, worker, workflow)
    for other in worker.session.rows("resume", worker.id):
        if other.execution_id != workflow:
            worker.release(other)
    return lease


def told(observer: Observer, workflow: uuid.UUID) -> list[str]:
    """The ends of children of which the workflow was told."""
    rows = observer.execute(
        """
        select kind from currant.inbox
        where workflow_id = %s and (kind like 'child%%' or kind like 'attached%%')
        union all
        select kind from currant.history_entries
        where workflow_id = %s and position = 0
            and (kind like 'child%%' or kind like 'attached%%')
        """,
        workflow,
        workflow,
    )
    return [row.kind for row in rows]


def finish(observer: Observer, worker: Worker) -> None:
    drain(observer, worker)
    check_at_the_end(observer)


@pytest.mark.parametrize("ending", ["commit", "rollback"])
def test_a_child_that_ends_while_it_is_cancelled_ends_once(
    ending: str,
    parent: uuid.UUID,
    app: Session,
    worker: Worker,
    other_worker: Worker,
    observer: Observer,
) -> None:
    command = child(1)
    begin(worker, command)
    [running] = other_worker.claim(0)
    lease = wake(app, worker, parent)

    other_worker.session.begin()
    assert other_worker.end(running) == "accepted"
    assert worker.advance(lease, cancel(1)) == "accepted"
    other_worker.session.execute(ending)
    check_always(observer)

    if ending == "commit":
        assert told(observer, parent) == ["child_completed"]
    else:
        # As the one that holds it reads the request only at its next activation.
        assert other_worker.end(running) == "refused"
    finish(observer, worker)
    assert len(told(observer, parent)) == 1


def test_a_child_that_is_cancelled_while_it_ends_hears_of_it_or_has_ended(
    parent: uuid.UUID, app: Session, worker: Worker, other_worker: Worker, observer: Observer
) -> None:
    begin(worker, child(1))
    [running] = other_worker.claim(0)
    lease = wake(app, worker, parent)

    worker.session.begin()
    assert worker.advance(lease, cancel(1)) == "accepted"
    assert other_worker.end(running) == "accepted"
    worker.session.commit()
    check_always(observer)

    assert told(observer, parent) == ["child_completed"]
    finish(observer, worker)


def test_a_child_cancelled_while_it_is_claimed_gets_the_request(
    parent: uuid.UUID, app: Session, worker: Worker, other_worker: Worker, observer: Observer
) -> None:
    command = child(1)
    begin(worker, command)
    lease = hold_alone(app, worker, parent)
    other_worker.session.begin()
    [running] = other_worker.claim(0)
    assert running.execution_id == child_id(command)

    assert worker.advance(lease, cancel(1)) == "accepted"
    other_worker.session.commit()
    assert other_worker.advance(running) == "accepted"

    [asked] = [one for one in other_worker.claim(0) if one.execution_id == child_id(command)]
    assert [event["kind"] for event in asked.inbox] == ["cancel_requested"]
    other_worker.end(asked)
    finish(observer, worker)


@pytest.mark.parametrize("last", ["end", "continue"])
@pytest.mark.parametrize("ending", ["commit", "rollback"])
@pytest.mark.parametrize("first", ["parent", "child"])
def test_a_child_that_ends_with_its_parent_leaves_nothing(
    first: str,
    ending: str,
    last: str,
    parent: uuid.UUID,
    app: Session,
    worker: Worker,
    other_worker: Worker,
    observer: Observer,
) -> None:
    begin(worker, child(1), child(2), child(3, on_parent_end="abandon"))
    running = other_worker.claim(0)
    lease = wake(app, worker, parent)

    def end_parent() -> None:
        if last == "end":
            assert worker.end(lease) == "accepted"
        else:
            assert worker.advance(lease, anew()) == "accepted"

    def end_children() -> None:
        for one in running[::2]:
            assert other_worker.end(one) == "accepted"

    if first == "parent":
        worker.session.begin()
        end_parent()
        end_children()
        worker.session.execute(ending)
    else:
        other_worker.session.begin()
        end_children()
        end_parent()
        other_worker.session.execute(ending)
    check_always(observer)

    for session_worker in (worker, other_worker):
        for one in session_worker.session.rows("resume", session_worker.id):
            session_worker.release(one)
    finish(observer, worker)
    statuses = [observer.status(one.execution_id) for one in running]
    assert set(statuses) <= {"completed", "cancelled"}


def test_children_that_nobody_holds_end_with_their_parent_at_once(
    parent: uuid.UUID, app: Session, worker: Worker, observer: Observer
) -> None:
    commands = [child(1), child(2, delay=60), child(3, on_parent_end="abandon")]
    begin(worker, *commands)
    lease = hold_alone(app, worker, parent)

    worker.end(lease)

    assert [observer.status(child_id(command)) for command in commands] == [
        *("cancelled", "cancelled", "pending")
    ]
    check_always(observer)
    finish(observer, worker)


def test_a_child_locked_by_a_signal_s_claim_is_asked_when_its_parent_ends(
    parent: uuid.UUID, app: Session, worker: Worker, other_worker: Worker, observer: Observer
) -> None:
    command = child(1)
    begin(worker, command)
    [running] = other_worker.claim(0)
    other_worker.advance(running)
    lease = wake(app, worker, parent)
    app.call("signal", child_id(command), "s")

    other_worker.session.begin()
    [running] = other_worker.claim(0)
    assert worker.end(lease) == "accepted"
    other_worker.session.commit()

    assert other_worker.end(running) == "refused"
    [asked] = other_worker.claim(0)
    assert [event["kind"] for event in asked.inbox] == ["signal_received", "cancel_requested"]
    other_worker.end(asked)
    finish(observer, worker)


def test_two_parents_with_the_same_key_share_one_child(
    app: Session, worker: Worker, other_worker: Worker, observer: Observer
) -> None:
    parents = [enqueue_workflow(app), enqueue_workflow(app)]
    [one] = worker.claim(0, 1)
    [other] = other_worker.claim(0, 1)
    commands = [child(1, key="k"), child(1, key="k")]

    worker.session.begin()
    assert worker.advance(one, commands[0]) == "accepted"
    assert other_worker.advance(other, commands[1]) == "busy"
    worker.session.commit()
    assert other_worker.advance(other, commands[1]) == "accepted"
    check_always(observer)

    [running] = worker.claim(0)
    assert running.execution_id == child_id(commands[0])
    worker.end(running, "shared")
    kinds = sorted(kind for parent in parents for kind in told(observer, parent))
    assert kinds == ["attached_completed", "child_completed"]
    woken = worker.claim(0)
    assert {lease.execution_id for lease in woken} == set(parents)
    assert [event["payload"] for lease in woken for event in lease.inbox] == ["shared"] * 2
    for lease in woken:
        worker.end(lease)
    finish(observer, worker)


def test_a_child_s_key_is_free_again_when_the_first_parent_is_rolled_back(
    app: Session, worker: Worker, other_worker: Worker, observer: Observer
) -> None:
    enqueue_workflow(app)
    enqueue_workflow(app)
    [one] = worker.claim(0, 1)
    [other] = other_worker.claim(0, 1)
    first, second = child(1, key="k"), child(1, key="k")

    worker.session.begin()
    assert worker.advance(one, first) == "accepted"
    assert other_worker.advance(other, second) == "busy"
    worker.session.rollback()
    assert other_worker.advance(other, second) == "accepted"
    assert worker.advance(one, first) == "accepted"
    check_always(observer)

    [running] = worker.claim(0)
    assert running.execution_id == child_id(second)
    worker.end(running)
    assert told(observer, one.execution_id) == ["attached_completed"]
    assert told(observer, other.execution_id) == ["child_completed"]
    finish(observer, worker)


@pytest.mark.parametrize("ending", ["commit", "rollback"])
def test_a_key_that_an_application_holds_stalls_nobody_but_its_parent(
    ending: str,
    parent: uuid.UUID,
    app: Session,
    other_app: Session,
    worker: Worker,
    other_worker: Worker,
    observer: Observer,
) -> None:
    other = enqueue_workflow(other_app)
    leases = {lease.execution_id: lease for lease in worker.claim(0)}
    app.begin()
    held = app.call(
        "enqueue",
        "child flow",
        "{}",
        '{"queue": "flows", "key": "k", "kind": "workflow"}',
    )
    command = child(1, key="k")

    assert worker.advance(leases[parent], command) == "busy"
    assert worker.advance(leases[other], child(1, key="another")) == "accepted"
    enqueue(other_app)
    [running, grandchild] = other_worker.claim()
    other_worker.complete(running)
    other_worker.end(grandchild)
    other_app.call("tick")
    assert worker.heartbeat(leases[parent]) == []
    assert worker.advance(leases[parent], command) == "busy"
    app.execute(ending)

    assert worker.advance(leases[parent], command) == "accepted"
    pass_time(observer, 1)
    observer.call("tick")
    check_always(observer)
    count = observer.value("select count(*) from currant.executions where id = %s", held)
    assert count == (ending == "commit")
    finish(observer, worker)
    kind = "attached_completed" if ending == "commit" else "child_completed"
    assert told(observer, parent) == [kind]


def test_a_child_that_ended_under_the_key_answers_at_once_or_makes_room(
    app: Session, worker: Worker, observer: Observer
) -> None:
    enqueue_workflow(app, key="k")
    [holder] = worker.claim(0)
    worker.end(holder, "before")
    command = child(1, key="k")
    again = child(2, key="k", key_scope="open")
    command["name"] = again["name"] = "f"
    workflow = enqueue_workflow(app)
    begin(worker, command, again)

    assert told(observer, workflow) == ["attached_completed"]
    woken = {lease.execution_id: lease for lease in worker.claim(0)}
    assert woken.keys() == {workflow, child_id(again)}
    assert woken[workflow].inbox[0]["payload"] == "before"
    for lease in woken.values():
        worker.end(lease)
    finish(observer, worker)


def test_a_child_with_the_key_of_its_ancestor_is_refused(
    app: Session, worker: Worker, observer: Observer
) -> None:
    grandparent = enqueue_workflow(app, key="k")
    begin(worker, child(1))
    command = child(1, key="k")
    command["name"] = "f"
    begin(worker, command)

    [woken] = worker.claim(0)
    assert woken.execution_id != grandparent
    assert [event["kind"] for event in woken.inbox] == ["attached_failed"]
    assert woken.inbox[0]["payload"]["type"] == "OwnAncestor"
    worker.end(woken)
    finish(observer, worker)


def test_cousins_that_cancel_each_other_s_parents_do_not_deadlock(
    app: Session,
    worker: Worker,
    open_session: Callable[[], Session],
    observer: Observer,
) -> None:
    parents = [enqueue_workflow(app), enqueue_workflow(app)]
    other_worker = Worker(open_session(), ["flows"])
    other_worker.session.refuse_to_wait()
    leases = [worker.claim(0, 1)[0], other_worker.claim(0, 1)[0]]

    def ask(execution: uuid.UUID) -> dict[str, Any]:
        payload = {"execution": str(execution), "reason": "no"}
        return {"kind": "request_cancel", "number": 1, "payload": payload}

    worker.session.begin()
    other_worker.session.begin()
    assert worker.advance(leases[0], ask(leases[1].execution_id)) == "accepted"
    assert other_worker.advance(leases[1], ask(leases[0].execution_id)) == "accepted"
    worker.session.commit()
    other_worker.session.commit()
    check_always(observer)

    woken = {lease.execution_id: lease for lease in worker.claim(0)}
    assert woken.keys() == set(parents)
    kinds = [event["kind"] for lease in woken.values() for event in lease.inbox]
    assert kinds == ["cancel_requested"] * 2
    for lease in woken.values():
        worker.end(lease)
    finish(observer, worker)

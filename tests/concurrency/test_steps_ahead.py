"""A workflow goes on together with a result while somebody else has something to do with it.

Whoever comes second does not wait: the step is refused, and the result reaches the workflow by its
inbox; or the step is accepted, and what the other did is found afterwards.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any, NamedTuple

import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.concurrency.drain import drain
from tests.concurrency.invariants import check_always, check_at_the_end
from tests.concurrency.support import (
    Lease,
    Observer,
    Session,
    Worker,
    child,
    child_id,
    enqueue,
    enqueue_workflow,
    force,
    pass_time,
    stop_the_clock,
    task,
    timer,
)


class Answer(NamedTuple):
    """What step_many says."""

    words: list[str]
    completed: list[str]
    started: list[Lease]


class Flow(NamedTuple):
    """A workflow whose tasks are being run."""

    id: uuid.UUID
    tasks: list[Any]


@pytest.fixture(autouse=True)
def _stopped_clock(observer: Observer) -> None:
    stop_the_clock(observer)


@pytest.fixture
def flow(app: Session, worker: Worker) -> Flow:
    """A workflow that has two tasks, both run by the worker."""
    return begin(app, worker, task(1), task(2))


def begin(app: Session, worker: Worker, *commands: dict[str, Any]) -> Flow:
    """Have the worker begin a workflow, and run the tasks that it asks for."""
    workflow = enqueue_workflow(app)
    [lease] = worker.claim(0, 1)
    assert worker.advance(lease, *commands) == "accepted"
    return Flow(workflow, worker.claim(10, 0))


def ahead(
    worker: Worker, flow: Flow, *commands: dict[str, Any], tasks: int = 1, last_event: int = 1
) -> dict[str, Any]:
    """An activation that the first so many tasks of the flow cause as they complete."""
    return {
        "execution": str(flow.id),
        "last_event": last_event,
        "at": worker.session.call("_now").isoformat(),
        "commands": [{"event": last_event + tasks, **command} for command in commands],
        "completions": [
            {"execution": str(one.execution_id), "token": one.token, "result": 1}
            for one in flow.tasks[:tasks]
        ],
    }


def step(worker: Worker, *activations: dict[str, Any], slots: int = 0) -> Answer:
    """Commit activations ahead; up to so many of their tasks are to be leased at once."""
    answer = worker.session.call(
        "step_many",
        worker.id,
        Jsonb(activations),
        Jsonb({"queues": ["tasks"], "slots": slots}),
    )
    started = [Lease(uuid.UUID(one[0]), one[1]) for one in answer["started"]]
    return Answer(answer["words"], answer["completed"], started)


def claim_soon(observer: Observer, worker: Worker) -> list[Any]:
    """Claim workflows after what a claim had to leave locked has come back."""
    pass_time(observer, 1)
    observer.call("tick")
    return worker.claim(0)


def arrived(lease: Any) -> list[str]:
    """The kinds of what a claimed workflow is told."""
    return [event["kind"] for event in lease.inbox]


def finish(observer: Observer, worker: Worker) -> None:
    """Run everything to its end, and look whether all is as it has to be."""
    drain(observer, worker)
    check_at_the_end(observer)


@pytest.mark.parametrize("what", ["signal", "cancel"])
def test_what_is_committed_after_the_step_wakes_the_workflow(
    what: str, flow: Flow, app: Session, worker: Worker, observer: Observer
) -> None:
    app.begin()
    app.call(what, flow.id, "s")

    assert step(worker, ahead(worker, flow, task(3))).words == ["accepted"]
    assert worker.claim(0) == []
    app.commit()

    [woken] = worker.claim(0)
    assert arrived(woken) == [{"signal": "signal_received", "cancel": "cancel_requested"}[what]]
    check_always(observer)


def test_a_signal_sent_during_the_step_wakes_the_workflow(
    flow: Flow, app: Session, worker: Worker, other_worker: Worker, observer: Observer
) -> None:
    worker.session.begin()
    assert step(worker, ahead(worker, flow, task(3))).words == ["accepted"]
    app.call("signal", flow.id, "s")
    assert other_worker.claim(0) == []
    worker.session.commit()

    [woken] = claim_soon(observer, other_worker)
    assert arrived(woken) == ["signal_received"]
    check_always(observer)


@pytest.mark.parametrize("ending", ["commit", "rollback"])
def test_a_signal_sent_while_the_workflow_ends_is_not_waited_for(
    ending: str, flow: Flow, app: Session, worker: Worker, observer: Observer
) -> None:
    app.begin()
    app.call("signal", flow.id, "s")
    end = {"kind": "complete", "payload": {"result": 1}}

    assert step(worker, ahead(worker, flow, end, tasks=2)).words == ["accepted"]
    app.execute(ending)

    assert observer.status(flow.id) == "completed"
    finish(observer, worker)


@pytest.mark.parametrize("ending", ["commit", "rollback"])
def test_a_step_does_not_wait_for_a_claim_of_its_workflow(
    ending: str,
    flow: Flow,
    app: Session,
    worker: Worker,
    other_worker: Worker,
    observer: Observer,
) -> None:
    app.call("signal", flow.id, "s")
    other_worker.session.begin()
    [lease] = other_worker.claim(0)

    answer = step(worker, ahead(worker, flow, task(3)), slots=1)
    other_worker.session.execute(ending)

    assert answer == Answer(["refused"], ["accepted"], [])
    if ending == "commit":
        assert other_worker.advance(lease) == "accepted"
        [woken] = claim_soon(observer, worker)
        assert arrived(woken) == ["task_completed"]
    else:
        [woken] = claim_soon(observer, worker)
        assert arrived(woken) == ["signal_received", "task_completed"]
    check_always(observer)


@pytest.mark.parametrize("ending", ["commit", "rollback"])
def test_a_step_does_not_wait_for_an_advance_of_its_workflow(
    ending: str,
    flow: Flow,
    app: Session,
    worker: Worker,
    other_worker: Worker,
    observer: Observer,
) -> None:
    app.call("signal", flow.id, "s")
    [lease] = other_worker.claim(0)
    other_worker.session.begin()
    assert other_worker.advance(lease, task(3)) == "accepted"

    answer = step(worker, ahead(worker, flow, task(3)))
    other_worker.session.execute(ending)

    assert answer.words == ["refused"]
    if ending == "rollback":
        assert other_worker.advance(lease, task(3)) == "accepted"
    [woken] = claim_soon(observer, worker)
    assert arrived(woken) == ["task_completed"]
    finish(observer, worker)


@pytest.mark.parametrize("ending", ["commit", "rollback"])
def test_a_step_does_not_wait_for_another_end_of_its_task(
    ending: str,
    flow: Flow,
    worker: Worker,
    open_session: Callable[[], Session],
    observer: Observer,
) -> None:
    earlier = open_session()
    earlier.begin()
    first = flow.tasks[0]
    earlier.call("complete", worker.id, first.execution_id, first.token, Jsonb(7))

    repeated = ahead(worker, flow, task(3), tasks=2)
    assert step(worker, repeated) == Answer(["refused"], ["busy", "accepted"], [])
    earlier.execute(ending)

    answer = step(worker, repeated)
    assert answer == Answer(
        ["refused"], ["already" if ending == "commit" else "accepted", "already"], []
    )
    [woken] = worker.claim(0)
    assert arrived(woken) == ["task_completed", "task_completed"]
    check_always(observer)


@pytest.mark.parametrize("ending", ["commit", "rollback"])
def test_a_step_does_not_wait_for_an_end_by_force(
    ending: str, flow: Flow, app: Session, worker: Worker, observer: Observer
) -> None:
    app.begin()
    force(app, flow.id)

    assert step(worker, ahead(worker, flow, task(3))) == Answer(["refused"], ["busy"], [])
    app.execute(ending)

    answer = step(worker, ahead(worker, flow, task(3)))
    if ending == "commit":
        assert answer == Answer(["refused"], ["lost"], [])
    else:
        assert answer == Answer(["accepted"], ["accepted"], [])
    finish(observer, worker)


def test_an_end_by_force_does_not_wait_for_a_step(
    flow: Flow, other_app: Session, worker: Worker, observer: Observer
) -> None:
    worker.session.begin()
    [lease] = step(worker, ahead(worker, flow, task(3)), slots=1).started
    force(other_app, flow.id)
    worker.session.commit()

    pass_time(observer, 10)
    observer.call("tick")

    assert observer.status(flow.id) == "cancelled"
    assert worker.complete(lease) == "lost"
    finish(observer, worker)


def test_a_timer_that_fires_meanwhile_is_heard_of_afterwards(
    app: Session, other_app: Session, worker: Worker, observer: Observer
) -> None:
    flow = begin(app, worker, task(1), timer(2, 5))
    pass_time(observer, 6)
    other_app.begin()
    other_app.call("tick", "due")

    assert step(worker, ahead(worker, flow, task(3))).words == ["accepted"]
    other_app.commit()

    [woken] = worker.claim(0)
    assert arrived(woken) == ["timer_fired"]
    finish(observer, worker)


def test_a_task_that_fails_meanwhile_is_heard_of_afterwards(
    flow: Flow, worker: Worker, open_session: Callable[[], Session], observer: Observer
) -> None:
    earlier = open_session()
    earlier.begin()
    second = flow.tasks[1]
    error = Jsonb({"type": "E", "retryable": False})
    earlier.call("fail", worker.id, second.execution_id, second.token, error)

    assert step(worker, ahead(worker, flow, task(3))).words == ["accepted"]
    earlier.commit()

    [woken] = worker.claim(0)
    assert arrived(woken) == ["task_failed"]
    finish(observer, worker)


def test_a_key_in_an_open_transaction_is_not_waited_for(
    flow: Flow, app: Session, worker: Worker, observer: Observer
) -> None:
    app.begin()
    enqueue_workflow(app, key="k")
    keyed = child(3, key="k")
    keyed["name"] = "f"

    answer = step(worker, ahead(worker, flow, keyed))
    app.commit()

    assert answer == Answer(["refused"], ["accepted"], [])
    woken = next(lease for lease in worker.claim(0) if lease.execution_id == flow.id)
    assert arrived(woken) == ["task_completed"]
    finish(observer, worker)


def test_batches_with_the_same_workflows_in_another_order_do_not_deadlock(
    app: Session, worker: Worker, other_worker: Worker, observer: Observer
) -> None:
    ours: list[Flow] = []
    theirs: list[Flow] = []
    for _ in range(2):
        workflow = enqueue_workflow(app)
        [lease] = worker.claim(0, 1)
        worker.advance(lease, task(1), task(2))
        ours.append(Flow(workflow, worker.claim(1, 0)))
        theirs.append(Flow(workflow, other_worker.claim(1, 0)))

    worker.session.begin()
    other_worker.session.begin()
    assert step(worker, ahead(worker, ours[0], task(3))).words == ["accepted"]
    backwards = [ahead(other_worker, flow, task(3)) for flow in reversed(theirs)]
    assert step(other_worker, *backwards).words == ["accepted", "refused"]
    assert step(worker, ahead(worker, ours[1], task(4))).words == ["refused"]
    worker.session.commit()
    other_worker.session.commit()

    woken = claim_soon(observer, worker)
    assert {lease.execution_id for lease in woken} == {flow.id for flow in ours}
    assert all(arrived(lease) == ["task_completed"] for lease in woken)
    finish(observer, worker)


def test_a_parent_goes_on_while_its_child_ends(
    app: Session, worker: Worker, other_worker: Worker, observer: Observer
) -> None:
    asked = child(2)
    parent = begin(app, worker, task(1), asked)
    [lease] = other_worker.claim(0)
    other_worker.advance(lease, task(1))
    inner = Flow(child_id(asked), other_worker.claim(10, 0))
    end = {"kind": "complete", "payload": {"result": 1}}

    other_worker.session.begin()
    assert step(other_worker, ahead(other_worker, inner, end)).words == ["accepted"]
    assert step(worker, ahead(worker, parent, task(3))).words == ["accepted"]
    other_worker.session.commit()

    [woken] = worker.claim(0)
    assert arrived(woken) == ["child_completed"]
    finish(observer, worker)


def test_a_parent_ends_while_its_child_goes_on(
    app: Session, worker: Worker, other_worker: Worker, observer: Observer
) -> None:
    asked = child(2)
    parent = begin(app, worker, task(1), asked)
    [lease] = other_worker.claim(0)
    other_worker.advance(lease, task(1))
    inner = Flow(child_id(asked), other_worker.claim(10, 0))
    end = {"kind": "complete", "payload": {"result": 1}}

    other_worker.session.begin()
    assert step(other_worker, ahead(other_worker, inner, task(2))).words == ["accepted"]
    assert step(worker, ahead(worker, parent, end)).words == ["accepted"]
    other_worker.session.commit()

    [woken] = claim_soon(observer, worker)
    assert (woken.execution_id, arrived(woken)) == (inner.id, ["cancel_requested"])
    finish(observer, worker)


@pytest.mark.parametrize("ending", ["commit", "rollback"])
def test_resume_waits_for_a_step_in_flight_and_finds_its_leases(
    ending: str,
    flow: Flow,
    worker: Worker,
    open_session: Callable[[], Session],
    observer: Observer,
) -> None:
    again = open_session()
    worker.session.begin()
    [lease] = step(worker, ahead(worker, flow, task(3), tasks=2), slots=1).started

    resuming = again.start(again.rows, "resume", worker.id)
    observer.wait_until_blocked(again, resuming)
    worker.session.execute(ending)

    held = [one.execution_id for one in resuming.result()]
    if ending == "commit":
        assert held == [lease.execution_id]
    else:
        assert held == [one.execution_id for one in flow.tasks]
    check_always(observer)


def test_a_step_repeated_after_a_lost_answer_changes_nothing(
    flow: Flow, worker: Worker, open_session: Callable[[], Session], observer: Observer
) -> None:
    sent = ahead(worker, flow, task(3), tasks=2)
    worker.session.begin()
    first = step(worker, sent, slots=1)
    again = Worker.__new__(Worker)
    again.session, again.id = open_session(), worker.id

    repeating = again.session.start(lambda: step(again, sent, slots=1))
    observer.wait_until_blocked(again.session, repeating)
    worker.session.commit()

    assert first.words == ["accepted"]
    assert repeating.result() == Answer(["refused"], ["already", "already"], [])
    assert observer.count("history_entries", flow.id) == 6
    assert worker.heartbeat(*first.started) == []
    finish(observer, worker)


def test_a_worker_whose_step_is_in_flight_is_not_declared_dead(
    flow: Flow, worker: Worker, other_worker: Worker, observer: Observer
) -> None:
    for _ in range(8):
        pass_time(observer, 10)
        other_worker.heartbeat()
        observer.call("tick", "due")
    worker.session.begin()
    [lease] = step(worker, ahead(worker, flow, task(3), tasks=2), slots=1).started
    other_worker.session.call("tick", "recover")
    worker.session.commit()
    assert worker.heartbeat(lease) == []

    for _ in range(8):
        pass_time(observer, 10)
        other_worker.heartbeat()
        observer.call("tick", "due")
    observer.call("tick", "recover")

    assert worker.complete(lease) == "lost"
    with pytest.raises(psycopg.Error) as refused:
        step(worker, ahead(worker, flow, task(4)))
    assert refused.value.sqlstate == "KR002"
    finish(observer, other_worker)


def test_a_step_holds_up_nobody(
    flow: Flow, app: Session, other_app: Session, worker: Worker, other_worker: Worker
) -> None:
    worker.session.begin()
    step(worker, ahead(worker, flow, task(3)), slots=1)

    other_app.call("signal", flow.id, "s")
    other_app.call("cancel", flow.id, "why")
    other_app.call("status", flow.id)
    other_app.call("cancel", flow.tasks[0].execution_id)
    other_app.call("cancel", flow.tasks[1].execution_id)
    enqueue(other_app)
    other_app.call("tick")
    assert [lease.kind for lease in other_worker.claim()] == ["task"]
    worker.session.commit()

"""A workflow continues as new, and something arrives for it in the same moment: nothing is lost."""

from __future__ import annotations

from typing import Any

import pytest
from psycopg.types.json import Jsonb

from tests.concurrency.drain import drain
from tests.concurrency.invariants import check_always, check_at_the_end
from tests.concurrency.support import (
    Observer,
    Session,
    Worker,
    anew,
    child,
    child_id,
    claim_soon,
    force,
    pass_time,
    stop_the_clock,
    task,
    timer,
)


def names(lease: Any) -> list[str]:
    """What a run is given: the signals it inherits, then those in its inbox."""
    return [one["name"] for one in lease.carried or []] + [
        event["name"] or event["kind"] for event in lease.inbox
    ]


def finish(observer: Observer, worker: Worker) -> None:
    drain(observer, worker)
    check_at_the_end(observer)


@pytest.mark.parametrize("first", ["signal", "continue"])
def test_a_signal_sent_during_the_commit_reaches_the_next_run(
    first: str, lease: Any, app: Session, worker: Worker, observer: Observer
) -> None:
    app.call("signal", lease.execution_id, "second")
    if first == "signal":
        app.begin()
        app.call("signal", lease.execution_id, "third")
        assert worker.advance(lease, anew("first")) == "accepted"
        app.commit()
    else:
        worker.session.begin()
        assert worker.advance(lease, anew("first")) == "accepted"
        app.call("signal", lease.execution_id, "third")
        worker.session.commit()
    app.call("signal", lease.execution_id, "fourth")
    check_always(observer)

    [run] = claim_soon(observer, worker)
    assert (run.last_event, run.first_event) == (2, 3)
    assert names(run) == ["first", "second", "third", "fourth"]
    assert worker.end(run) == "accepted"
    finish(observer, worker)


def test_a_signal_in_an_open_transaction_wakes_the_next_run_when_it_commits(
    lease: Any, app: Session, worker: Worker, observer: Observer
) -> None:
    app.begin()
    app.call("signal", lease.execution_id, "late")
    assert worker.advance(lease, anew("first")) == "accepted"
    [run] = worker.claim()
    assert names(run) == ["first"]
    assert worker.advance(run) == "accepted"
    assert worker.claim() == []
    app.commit()

    [woken] = worker.claim()
    assert names(woken) == ["late"]
    worker.end(woken)
    finish(observer, worker)


def test_a_claim_during_the_commit_finds_the_next_run_afterwards(
    lease: Any, app: Session, worker: Worker, other_worker: Worker, observer: Observer
) -> None:
    app.call("signal", lease.execution_id, "second")
    worker.session.begin()
    assert worker.advance(lease, anew()) == "accepted"
    assert other_worker.claim() == []
    worker.session.commit()

    [run] = claim_soon(observer, other_worker)
    assert names(run) == ["second"]
    assert claim_soon(observer, worker) == []
    assert worker.advance(lease, anew()) == "already"
    other_worker.end(run)
    finish(observer, worker)


@pytest.mark.parametrize("first", ["cancel", "continue"])
@pytest.mark.parametrize("ending", ["commit", "rollback"])
def test_a_request_to_cancel_during_the_commit_reaches_the_next_run(
    first: str,
    ending: str,
    lease: Any,
    app: Session,
    other_app: Session,
    worker: Worker,
    observer: Observer,
) -> None:
    if first == "cancel":
        app.begin()
        app.call("cancel", lease.execution_id)
        assert worker.advance(lease, anew()) == "accepted"
        app.execute(ending)
        is_asked = ending == "commit"
    else:
        worker.session.begin()
        assert worker.advance(lease, anew()) == "accepted"
        app.call("cancel", lease.execution_id)
        worker.session.execute(ending)
        is_asked = True
        if ending == "rollback":
            assert worker.advance(lease, anew()) == "accepted"
    check_always(observer)

    [run] = claim_soon(observer, worker)
    assert names(run) == ["cancel_requested"] * is_asked
    # Asked once more, it is asked once all the same.
    other_app.call("cancel", lease.execution_id)
    assert worker.advance(run) == "accepted"
    found = claim_soon(observer, worker)
    assert [names(one) for one in found] == [["cancel_requested"]] * (not is_asked)
    for one in found:
        worker.end(one)
    finish(observer, worker)


def test_a_request_that_a_run_has_heard_of_does_not_keep_the_next_run_from_hearing_of_another(
    lease: Any, app: Session, other_app: Session, worker: Worker, observer: Observer
) -> None:
    worker.advance(lease)
    app.call("cancel", lease.execution_id)
    [asked] = worker.claim()
    assert names(asked) == ["cancel_requested"]

    worker.session.begin()
    assert worker.advance(asked, anew()) == "accepted"
    # Of the first request there is nothing left to be seen once this has committed.
    assert other_app.call("cancel", lease.execution_id) == "running"
    worker.session.commit()
    app.call("cancel", lease.execution_id)
    check_always(observer)

    [run] = claim_soon(observer, worker)
    assert names(run) == ["cancel_requested"]
    worker.end(run)
    finish(observer, worker)


@pytest.mark.parametrize("first", ["task", "continue"])
def test_a_task_that_ends_during_the_commit_is_counted_once(
    first: str, lease: Any, worker: Worker, other_worker: Worker, observer: Observer
) -> None:
    assert worker.advance(lease, task(1), child(2), timer(3, 10)) == "accepted"
    running, kid = sorted(other_worker.claim(), key=lambda one: one.kind)
    observer.call("signal", lease.execution_id, "s")
    [busy] = worker.claim()

    starting, following = (worker, other_worker) if first == "continue" else (other_worker, worker)
    starting.session.begin()
    for one in (starting, following):
        if one is worker:
            assert worker.advance(busy, anew()) == "accepted"
        else:
            assert other_worker.complete(running) == "accepted"
            assert other_worker.end(kid) == "accepted"
    starting.session.commit()
    check_always(observer)

    [run] = claim_soon(observer, worker)
    assert sorted(event["number"] for event in run.inbox) == [1, 2]
    assert worker.advance(run, task(4), timer(5, 10)) == "accepted"
    check_always(observer)
    pass_time(observer, 11)
    finish(observer, worker)


def test_a_timer_of_the_old_run_that_fires_during_the_commit_is_not_the_new_one_s(
    lease: Any, app: Session, worker: Worker, other_app: Session, observer: Observer
) -> None:
    worker.advance(lease, timer(1, 10))
    app.call("signal", lease.execution_id, "s")
    [busy] = worker.claim()
    pass_time(observer, 11)

    other_app.begin()
    other_app.call("tick", "due")
    assert worker.advance(busy, anew()) == "accepted"
    other_app.commit()
    check_always(observer)

    [run] = claim_soon(observer, worker)
    assert [(event["kind"], event["number"]) for event in run.inbox] == [("timer_fired", 1)]
    assert run.last_command == 1
    worker.advance(run, timer(2, 10))
    check_always(observer)
    finish(observer, worker)


def test_what_the_old_run_left_open_is_cancelled_and_what_it_abandoned_is_not(
    lease: Any, worker: Worker, other_worker: Worker, observer: Observer
) -> None:
    commands = [task(1), child(2), child(3, on_parent_end="abandon"), task(4)]
    worker.advance(lease, *commands)
    running = {one.execution_id: one for one in other_worker.claim(1, 0)}
    observer.call("signal", lease.execution_id, "s")
    [busy] = [one for one in worker.claim(0) if one.execution_id == lease.execution_id]
    for one in worker.session.rows("resume", worker.id):
        if one.execution_id != lease.execution_id:
            worker.release(one)

    worker.session.begin()
    assert worker.advance(busy, anew()) == "accepted"
    assert other_worker.heartbeat(*running.values()) == []
    worker.session.commit()

    assert [observer.status(child_id(command)) for command in commands] == [
        *("running", "cancelled", "pending", "cancelled")
    ]
    assert [one.answer for one in other_worker.heartbeat(*running.values())] == ["cancel"]
    for one in running.values():
        other_worker.fail(one)
    check_always(observer)
    finish(observer, worker)


@pytest.mark.parametrize("ending", ["commit", "rollback"])
def test_force_during_the_commit_ends_it_whatever_run_it_is(
    ending: str, lease: Any, worker: Worker, other_app: Session, observer: Observer
) -> None:
    worker.session.begin()
    assert worker.advance(lease, anew()) == "accepted"
    assert force(other_app, lease.execution_id) == "running"
    worker.session.execute(ending)

    pass_time(observer, 1)
    observer.call("tick", "due")
    assert observer.status(lease.execution_id) == "cancelled"
    assert worker.advance(lease, anew()) == "lost"
    finish(observer, worker)


def test_many_runs_and_many_signals_keep_their_order(
    lease: Any, app: Session, other_app: Session, worker: Worker, observer: Observer
) -> None:
    sent = ["first"]
    run, kept = lease, list[str]()
    for number in range(20):
        session = other_app if number % 3 else app
        app.begin()
        for _ in range(number % 4):
            sent.append(f"signal {len(sent)}")
            session.call("signal", lease.execution_id, sent[-1])
        # This run takes one of the signals that it has; the rest goes on to the next.
        kept += [event["name"] for event in run.inbox]
        taken, kept = kept[:1], kept[1:]
        assert taken == sent[: len(taken)]
        sent = sent[len(taken) :]
        assert worker.advance(run, anew(*kept)) == "accepted"
        app.commit()
        [run] = claim_soon(observer, worker)
        assert [one["name"] for one in run.carried or []] == kept
    check_always(observer)

    assert kept + [event["name"] for event in run.inbox] == sent
    worker.end(run)
    finish(observer, worker)


def test_enqueue_and_signal_during_the_commit_reaches_the_same_execution(
    app: Session, worker: Worker, observer: Observer
) -> None:
    stop_the_clock(observer)
    options = Jsonb({"queue": "flows", "kind": "workflow", "key": "k"})
    call = ("enqueue_and_signal", "f", Jsonb({}), "s", None, options)
    workflow = app.call(*call)
    [lease] = worker.claim()

    app.begin()
    assert app.call(*call) == workflow
    assert worker.advance(lease, anew("s")) == "accepted"
    app.commit()

    [run] = claim_soon(observer, worker)
    assert run.execution_id == workflow
    assert names(run) == ["s", "s"]
    worker.end(run)
    finish(observer, worker)

"""Whatever arrives for a workflow, and whenever: it is woken, and applies it exactly once."""

from __future__ import annotations

from collections.abc import Callable
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
    claim_soon,
    enqueue_workflow,
    pass_time,
    task,
    timer,
)


def test_a_signal_committed_after_the_workflow_parked_wakes_it(
    lease: Any, app: Session, worker: Worker
) -> None:
    app.begin()
    app.call("signal", lease.execution_id, "s")

    assert worker.advance(lease) == "accepted"
    assert worker.claim() == []
    app.commit()

    [woken] = worker.claim()
    assert [event["name"] for event in woken.inbox] == ["s"]


def test_a_signal_sent_during_an_activation_s_commit_wakes_the_workflow(
    lease: Any, app: Session, worker: Worker, other_worker: Worker, observer: Observer
) -> None:
    worker.session.begin()
    assert worker.advance(lease) == "accepted"
    app.call("signal", lease.execution_id, "s")
    assert other_worker.claim() == []
    worker.session.commit()

    [woken] = claim_soon(observer, other_worker)
    assert [event["name"] for event in woken.inbox] == ["s"]


def test_a_signal_whose_wake_row_met_the_lease_is_found_by_the_lease_s_holder(
    lease: Any, app: Session, worker: Worker, other_worker: Worker, observer: Observer
) -> None:
    app.call("signal", lease.execution_id, "s")
    assert other_worker.claim() == []
    assert observer.count("ready") == 0

    assert worker.advance(lease) == "accepted"

    [woken] = other_worker.claim()
    assert [event["name"] for event in woken.inbox] == ["s"]


@pytest.mark.parametrize("ending", ["commit", "rollback"])
def test_a_claim_that_meets_the_lease_makes_its_holder_come_again(
    ending: str, lease: Any, app: Session, worker: Worker, other_worker: Worker, observer: Observer
) -> None:
    app.call("signal", lease.execution_id, "s")

    other_worker.session.begin()
    assert other_worker.claim() == []
    assert worker.advance(lease) == "busy"
    other_worker.session.execute(ending)
    assert worker.advance(lease) == "accepted"

    [woken] = worker.claim()
    assert [event["name"] for event in woken.inbox] == ["s"]
    check_always(observer)


def test_two_claims_that_meet_a_locked_workflow_wait_for_nobody(
    lease: Any, app: Session, open_session: Callable[[], Session], observer: Observer
) -> None:
    workers = [Worker(open_session(), ["flows"]) for _ in range(3)]
    other = enqueue_workflow(app)
    for waker in workers[1:]:
        waker.session.refuse_to_wait()
    [other_lease] = workers[0].claim()
    workers[0].session.begin()
    workers[0].advance(other_lease)

    for waker in workers[1:]:
        app.call("signal", other, "s")
        waker.session.begin()
        assert waker.claim() == []
    for waker in workers:
        waker.session.commit()

    assert [found.execution_id for found in claim_soon(observer, workers[1])] == [other]


def test_an_end_is_refused_while_a_signal_is_unread(
    lease: Any, app: Session, worker: Worker
) -> None:
    app.call("signal", lease.execution_id, "s")

    assert worker.end(lease) == "refused"

    [again] = worker.claim()
    assert [event["name"] for event in again.inbox] == ["first", "s"]
    assert worker.end(again) == "accepted"


def test_a_signal_committed_after_the_end_leaves_nothing_to_do(
    lease: Any, app: Session, worker: Worker, observer: Observer
) -> None:
    app.begin()
    app.call("signal", lease.execution_id, "s")
    assert worker.end(lease) == "accepted"
    app.commit()

    assert worker.claim() == []
    check_at_the_end(observer)


def test_children_that_end_during_the_parent_s_commit_are_each_told_once(
    lease: Any, worker: Worker, other_worker: Worker, observer: Observer
) -> None:
    worker.advance(lease, *(task(number) for number in range(1, 5)))
    children = worker.claim()

    other_worker.session.begin()
    others = [worker.complete(child) for child in children[:1]]
    [parent] = worker.claim()
    worker.session.begin()
    assert worker.advance(parent) == "accepted"
    for child in children[1:3]:
        others.append(
            other_worker.session.call("complete", worker.id, child.execution_id, child.token, None)
        )
    worker.session.commit()
    other_worker.session.commit()
    others.append(worker.fail(children[3], retryable=False))

    [parent] = claim_soon(observer, worker)
    assert set(others) == {"accepted"}
    assert [event["number"] for event in parent.inbox] == [2, 3, 4]
    check_always(observer)
    drain(observer, worker)
    check_at_the_end(observer)


def test_a_result_and_the_parent_s_event_and_wake_row_are_seen_together(
    lease: Any, worker: Worker, observer: Observer
) -> None:
    child = task(1)
    worker.advance(lease, child)
    [running] = worker.claim()

    def seen() -> tuple[int, int, int]:
        return (
            observer.count("outcomes", child_id(child)),
            observer.count("inbox", lease.execution_id),
            observer.count("ready", lease.execution_id),
        )

    worker.session.begin()
    assert worker.complete(running) == "accepted"
    assert seen() == (0, 0, 0)
    worker.session.commit()
    assert seen() == (1, 1, 1)


def test_a_timer_cancelled_while_it_fires_is_an_event_at_most_once(
    lease: Any, app: Session, worker: Worker, other_app: Session, observer: Observer
) -> None:
    worker.advance(lease, timer(1, 10))
    app.call("signal", lease.execution_id, "s")
    [running] = worker.claim()
    pass_time(observer, 11)

    other_app.begin()
    other_app.call("tick", "due")
    assert worker.advance(running, cancel(1)) == "accepted"
    other_app.commit()

    [woken] = worker.claim()
    assert [event["kind"] for event in woken.inbox] == ["timer_fired"]
    assert worker.advance(woken) == "accepted"
    check_always(observer)


@pytest.mark.parametrize("step", ["inbox", "ready"])
@pytest.mark.parametrize("cause", ["failure", "cancellation", "timer"])
def test_what_arrives_while_the_workflow_ends_leaves_nothing_behind(
    step: str,
    cause: str,
    lease: Any,
    app: Session,
    worker: Worker,
    open_session: Callable[[], Session],
    observer: Observer,
) -> None:
    child = task(1)
    worker.advance(lease, child, timer(2, 10))
    pass_time(observer, 11)
    late = open_session()
    if cause == "failure":
        [running] = worker.claim()
    app.call("signal", lease.execution_id, "s")
    [ending] = worker.claim(0)
    call: tuple[object, ...]
    if cause == "failure":
        error = '{"retryable": false}'
        call = ("fail", worker.id, running.execution_id, running.token, error)
    elif cause == "cancellation":
        call = ("cancel", child_id(child))
    else:
        call = ("tick", "due")

    close_gate(observer, step)
    arriving = late.start(late.call, *call)
    observer.wait_until_blocked(late, arriving)
    assert worker.end(ending) == "busy" or observer.status(lease.execution_id) == "completed"
    open_gate(observer)
    arriving.result()

    drain(observer, worker)
    check_at_the_end(observer)


def test_a_signal_that_arrives_while_a_claim_looks_at_a_stale_wake_row_wakes_the_workflow(
    lease: Any,
    app: Session,
    other_app: Session,
    worker: Worker,
    other_worker: Worker,
    open_session: Callable[[], Session],
    observer: Observer,
) -> None:
    leave_a_stale_wake_row(lease, app, worker, other_worker, observer)
    looking = Worker(open_session(), ["flows"])

    # It locks the workflow, looks whether it was cancelled, and then whether anything is there.
    close_gate_before_workflows(observer, passing=2)
    claim = looking.session.start(looking.claim)
    observer.wait_until_blocked(looking.session, claim)
    other_app.call("signal", lease.execution_id, "s")
    open_gate(observer)

    found = claim.result() or worker.claim()
    assert [woken.execution_id for woken in found] == [lease.execution_id]
    check_always(observer)


def leave_a_stale_wake_row(
    lease: Any, app: Session, worker: Worker, other_worker: Worker, observer: Observer
) -> None:
    """Park the workflow with an empty inbox and a wake row that came back too late."""
    worker.session.begin()
    worker.advance(lease)
    app.call("signal", lease.execution_id, "late")
    assert other_worker.claim() == []
    worker.session.commit()
    app.call("signal", lease.execution_id, "early")
    [woken] = worker.claim()
    assert worker.advance(woken) == "accepted"
    pass_time(observer, 1)
    observer.call("tick")
    assert observer.count("ready", lease.execution_id) == 1
    assert observer.count("inbox", lease.execution_id) == 0


def close_gate(observer: Observer, table: str) -> None:
    """Hold inserts into a table, in sessions that may wait, until the gate opens."""
    observer.execute("select pg_advisory_lock(4711)")
    observer.execute(
        f"""
        create function public.pass_gate() returns trigger language plpgsql as $$
        begin
            if current_setting('lock_timeout') = '0' then
                perform pg_advisory_xact_lock_shared(4711);
            end if;
            return null;
        end $$;
        create trigger gate before insert on currant.{table}
        for each statement execute function public.pass_gate()
        """
    )


def close_gate_before_workflows(observer: Observer, passing: int) -> None:
    """Hold a transaction's later statements over workflows, with the snapshot that they have."""
    observer.execute("select pg_advisory_lock(4711)")
    observer.execute(
        f"""
        create function public.pass_gate() returns setof integer language plpgsql as $$
        declare
            passed integer := coalesce(nullif(current_setting('gate.passed', true), ''), '0');
        begin
            perform set_config('gate.passed', (passed + 1)::text, true);
            if current_setting('lock_timeout') = '0' and passed >= {passing} then
                perform pg_advisory_xact_lock_shared(4711);
            end if;
        end $$;
        alter table currant.workflows rename to workflows_behind_the_gate;
        create view currant.workflows as
        select w.* from currant.workflows_behind_the_gate as w
        where not exists (select from public.pass_gate())
        """
    )


def open_gate(observer: Observer) -> None:
    """Let them go on."""
    observer.execute("select pg_advisory_unlock(4711)")

"""Claims at the same time: each piece of work is leased once, and none of them waits."""

from __future__ import annotations

from psycopg.types.json import Jsonb

from tests.concurrency.invariants import check_always
from tests.concurrency.support import (
    Observer,
    Session,
    Worker,
    enqueue,
    enqueue_workflow,
    task,
)


def test_a_task_claimed_in_an_open_transaction_is_claimed_by_nobody_else(
    app: Session, worker: Worker, other_worker: Worker, observer: Observer
) -> None:
    execution = enqueue(app)

    worker.session.begin()
    claimed = worker.claim()
    beside = other_worker.claim()
    worker.session.commit()

    assert [lease.execution_id for lease in claimed] == [execution]
    assert beside == other_worker.claim() == []
    check_always(observer)


def test_a_claim_that_is_rolled_back_leaves_its_task_to_others(
    app: Session, worker: Worker, other_worker: Worker
) -> None:
    execution = enqueue(app)

    worker.session.begin()
    worker.claim()
    worker.session.rollback()

    assert [lease.execution_id for lease in other_worker.claim()] == [execution]


def test_claims_share_a_queue_without_waiting(
    app: Session, worker: Worker, other_worker: Worker, observer: Observer
) -> None:
    executions = [enqueue(app) for _ in range(4)]

    worker.session.begin()
    first = [lease.execution_id for lease in worker.claim(2)]
    second = [lease.execution_id for lease in other_worker.claim(4)]
    worker.session.commit()

    assert first == executions[:2]
    assert second == executions[2:]
    check_always(observer)


def test_one_of_several_wake_rows_gives_the_lease_and_the_others_give_none(
    app: Session, worker: Worker, other_worker: Worker, observer: Observer
) -> None:
    workflow = enqueue_workflow(app)
    worker.advance(worker.claim()[0])
    for _ in range(3):
        app.call("signal", workflow, "s")

    worker.session.begin()
    [lease] = worker.claim(0, 1)
    app.call("signal", workflow, "s")
    beside = other_worker.claim(0, 1)
    worker.session.commit()

    assert len(lease.inbox) == 3
    assert beside == other_worker.claim(0, 1) == []
    check_always(observer)


def test_a_workflow_is_leased_once_by_a_claim_that_names_its_queue_twice(
    app: Session, worker: Worker, observer: Observer
) -> None:
    workflow = enqueue_workflow(app)
    app.call("signal", workflow, "s")
    app.call("signal", workflow, "s")

    leases = worker.session.rows("claim", worker.id, ["flows", "flows"], 0, 9)

    assert [lease.execution_id for lease in leases] == [workflow]
    check_always(observer)


def test_a_claim_finds_what_is_behind_the_wake_rows_of_a_leased_workflow(
    app: Session, worker: Worker, other_worker: Worker
) -> None:
    leased = enqueue_workflow(app)
    worker.claim()
    for _ in range(5):
        app.call("signal", leased, "s")
    behind = enqueue_workflow(app)

    assert [lease.execution_id for lease in other_worker.claim(0, 2)] == [behind]


def test_a_claim_finds_what_is_behind_the_wake_rows_of_a_locked_workflow(
    app: Session, other_app: Session, worker: Worker
) -> None:
    locked = enqueue_workflow(app)
    app.begin()
    app.call("cancel", locked)
    for _ in range(5):
        other_app.call("signal", locked, "s")
    behind = enqueue_workflow(other_app)

    assert [lease.execution_id for lease in worker.claim(0, 2)] == [behind]


def test_a_task_given_back_twice_in_one_call_is_ready_once(
    app: Session, worker: Worker, observer: Observer
) -> None:
    execution = enqueue(app)
    [lease] = worker.claim()

    words = worker.session.call(
        "release_many", worker.id, [execution, execution], [lease.token, lease.token]
    )

    assert set(words) == {"accepted"}
    assert observer.count("ready", execution) == 1


def test_an_item_that_is_twice_in_a_batch_spoils_nothing(
    app: Session, worker: Worker, observer: Observer
) -> None:
    executions = [enqueue(app) for _ in range(3)]
    completed, failed, _other = worker.claim()

    for function, lease, value in [
        ("complete_many", completed, {}),
        ("fail_many", failed, {"type": "E"}),
    ]:
        words = worker.session.call(
            function,
            worker.id,
            [lease.execution_id] * 2,
            [lease.token] * 2,
            [Jsonb(value)] * 2,
        )
        assert words[0] == "accepted"

    assert observer.status(executions[0]) == "completed"
    assert observer.status(executions[1]) == "pending"
    check_always(observer)


def test_a_workflow_is_not_ended_by_a_word_for_tasks(
    app: Session, worker: Worker, observer: Observer
) -> None:
    enqueue_workflow(app)
    [lease] = worker.claim()

    worker.complete(lease, 1)
    worker.fail(lease)

    assert worker.advance(lease, task(1)) == "accepted"
    check_always(observer)
